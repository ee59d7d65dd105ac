// Limits of one exchange step, each with its reason.

/** Partitions that one task divides its rows into: above it each partition is a sliver of the sorted file. */
export const partitionsPerStepMax = 64;

/** Files that one consumer reads: each costs it a footer (about 1 KiB a row group) and an open file. */
export const producersPerStepMax = 64;

/** Two steps reach this far; more partitions than this would be tasks of milliseconds. */
export const partitionsMax = partitionsPerStepMax * partitionsPerStepMax;

/** DuckDB's own size, and the unit of its parallelism. */
export const rowGroupRowsMax = 122_880;

/** Smaller groups make the footer heavier than what they save a reader of one partition. */
export const rowGroupRowsMin = 16_384;

/** The column by which an exchange file is sorted. */
export const partitionColumn = '__catena_partition';
