// The committed state of a replicated state machine: keys and values in order of their bytes, and the
// position in the log up to which they are applied, always changed together (P14). All backends pass
// key-value-store.suite.ts.

export interface KeyValueChange {
  readonly key: Uint8Array;
  /** Absent: the key goes. */
  readonly value?: Uint8Array | undefined;
}

export interface KeyRange {
  /** First key wanted. */
  readonly from: Uint8Array;
  /** First key not wanted any more. */
  readonly to: Uint8Array;
  readonly limit?: number;
}

export interface KeyValueStore {
  /** A copy, the caller's own. */
  get(key: Uint8Array): Buffer | undefined;
  /** Ascending; to be used up, or left by `break`, before the next `write`. */
  range(range: KeyRange): Iterable<readonly [key: Buffer, value: Buffer]>;
  /**
   * All changes and the new position, or none. Readers see them, and they survive the death of the process,
   * when it resolves. Calls are carried out in the order in which they were made. `position` never goes back.
   * Arguments must not be changed meanwhile.
   */
  write(changes: readonly KeyValueChange[], position: bigint): Promise<void>;
  /** Of the last write that was carried out. */
  readonly position: bigint;
  /** Of the last write that survives the loss of power. */
  readonly flushedPosition: bigint;
  /** Everything written before this call is on the medium when it returns. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** LMDB's longest key, less the byte that keeps our own records apart. */
export const keyBytesMax = 1900;
