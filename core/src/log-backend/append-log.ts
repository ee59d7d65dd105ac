// The log under a replicated state machine: records in, numbers out, in order. On one machine it is a local
// file, with etcd it will be keys; both pass append-log.suite.ts. It never looks into a record.

/** `body` is the caller's, who writes the version of its format into it. */
export interface LogRecord {
  readonly number: bigint;
  readonly epoch: bigint;
  readonly body: Buffer;
}

/** Where the state that the log feeds stands: numbers and epochs of this opening are above it (P15). */
export interface LogFloor {
  readonly number: bigint;
  readonly epoch: bigint;
}

export interface AppendLog {
  /** Above every epoch before: each opening has its own. */
  readonly epoch: bigint;
  /** The last record that survives the death of the process. */
  readonly appended: bigint;
  /** The last record that survives the loss of power. */
  readonly flushed: bigint;
  /**
   * Appends all of `bodies` or none; returns the number of the last one when they survive the death of this
   * process. Calls are carried out in the order in which they were made.
   */
  append(bodies: readonly Uint8Array[]): Promise<bigint>;
  /** Everything appended before this call is on the medium when it returns; returns `flushed`. */
  flush(): Promise<bigint>;
  /** Records from this number on, up to the last that is appended when the reader gets there. */
  read(from: bigint): AsyncIterable<LogRecord>;
  /** Records below this number may be forgotten; never more of them than asked. */
  trim(below: bigint): Promise<void>;
  /** Flushes and lets go. */
  close(): Promise<void>;
}

export const noFloor: LogFloor = { number: 0n, epoch: 0n };

/** One record, whatever the backend: a batch of 512 creates is some 200 KiB. */
export const logRecordBytesMax = 16 << 20;
