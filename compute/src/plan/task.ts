// A task: what one worker does in one piece, as data. Its result is committed only by the driver's job log.
import type { StoredColumn } from '../exchange/encoding.ts';
import type { PartitionRule, Step } from '../exchange/partition-sql.ts';
import type { Relation } from './relation.ts';

export type Work =
  /** Writes one file, sorted by partition. */
  | {
      readonly kind: 'exchange';
      readonly relation: Relation;
      /** Only these go into the file. */
      readonly columns: readonly string[];
      readonly rule: PartitionRule;
      /** Of the whole fan-out. */
      readonly partitions: number;
      readonly step: Step;
      /** Of this step: what the file is divided into. */
      readonly parts: number;
      readonly rowGroupRows: number;
    }
  /**
   * Writes one file. As a `result` it is for people: flushed to the medium, and of standard Parquet types.
   */
  | {
      readonly kind: 'store';
      readonly relation: Relation;
      readonly limit: number | undefined;
      readonly target: 'scratch' | 'result';
    }
  | { readonly kind: 'count'; readonly relation: Relation };

export interface Task {
  readonly id: string;
  /** The stage's sentence, for people. */
  readonly stage: string;
  readonly dependsOn: readonly string[];
  /** Wants all threads and memory of its node. */
  readonly exclusive: boolean;
  /** Nodes that hold its input. */
  readonly hints: readonly string[];
  /** Rows that it should read, if known. */
  readonly expectedRows: number | undefined;
  readonly work: Work;
}

export interface TaskResult {
  readonly rows: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Empty if the task writes none. */
  readonly file: string;
  readonly columns: readonly StoredColumn[];
  /** Of an exchange: rows of each partition of its file. */
  readonly partRows: readonly number[];
}
