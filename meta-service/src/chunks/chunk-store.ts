// What the metadata service asks of the chunks of a file. The product's one goes through the native client to
// the storage servers, its twin in memory serves tests and simulation; both pass chunk-store.suite.ts. Every
// call may be repeated.
import type { message } from '@catena/core';
import type { Space } from '../operations/operation.ts';

export interface ChunkStore {
  /** No chunk of the inode is left. `length` is how far the file is known to have reached. */
  remove(inode: bigint, layout: message.Layout, length: bigint): Promise<void>;
  /**
   * No byte at or beyond `length` is left; nothing is added below it. `oldLength`: how far the file reached; undefined
   * if nobody here knows.
   */
  truncate(
    inode: bigint,
    layout: message.Layout,
    length: bigint,
    oldLength: bigint | undefined,
  ): Promise<void>;
  /** How far the chunks reach. */
  queryLength(inode: bigint, layout: message.Layout): Promise<bigint>;
  /** What the storage servers have. */
  space(): Promise<Space>;
}
