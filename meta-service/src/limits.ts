// Limits of the metadata service, each with its reason. Limits of names and messages are core's.

/** Longest target of a symbolic link: PATH_MAX of Linux without its final zero. */
export const symlinkBytesMax = 4095;

/**
 * Hard links of a file and subdirectories of a directory: what every reader of st_nlink holds in a signed 32-bit
 * number.
 */
export const linksMax = 2_000_000_000;

/** Largest file: 2^63 − 1, what off_t holds. */
export const fileBytesMax = (1n << 63n) - 1n;

/** Entries of one directory whose names share one 53-bit hash; more than chance or an attacker's patience brings. */
export const collisionsMax = 128;

/** Entries in one answer to a directory listing: one kernel request of 1 MiB holds about this many. */
export const listEntriesMax = 8192;

/** Bytes of one answer to a directory listing, so that an answer stays well below the longest message. */
export const listBytesMax = 1 << 20;

/** Requests of one client whose answers it has not confirmed (P17): also the number of kept answers per client. */
export const unansweredMax = 256;

/** Clients with a session: what the manager's routing carries (P4). */
export const clientsMax = 65_536;

/** Open files of one client: as many as a mount's process may open by default on large servers. */
export const openFilesPerClientMax = 65_536;

/** Open files altogether: about 200 bytes each. */
export const openFilesMax = 1_048_576;

/** Records that are not yet applied to the store; at this many, new requests wait until the store has caught up. */
export const overlayRecordsMax = 65_536;

/** Requests that wait for a truncation or for the store; more are refused as OVERLOADED. */
export const parkedRequestsMax = 16_384;

/** Decoded inodes kept beside the store: about 600 bytes each. */
export const inodeCacheMax = 16_384;

/** Key changes gathered into one log record, so that a record stays below a megabyte or two. */
export const batchChangesMax = 8_192;

/** Inode ids reserved by one flushed record: a second's worth of creates at full speed. */
export const identifierBlock = 65_536n;

/** Virtual partitions that new directories are spread over (P18). */
export const partitions = 4096;

/** Chunks of unlinked files are removed for this many files at once, so that removal never starves reads and writes. */
export const removalsAtOnce = 8;

/** Removal intents read ahead from the store. */
export const removalsQueuedMax = 256;

/**
 * Beside them, those that failed before and are tried again; with more of them nothing new is begun, because a scan
 * for new ones steps over them all.
 */
export const removalsFailingMax = 2_048;

/** Truncations whose chunks are trimmed at once; the others wait. */
export const truncationsAtOnce = 16;

/** Chunk sizes of layouts, as native/crates/wire has them. */
export const chunkBytesMin = 64 << 10;
export const chunkBytesMax = 64 << 20;
