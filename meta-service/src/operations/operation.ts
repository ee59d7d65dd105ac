// What every operation is: a pure function of state, request and context. It refuses by throwing an FsError
// before or after any write to the transaction, whose effects are then dropped; it never waits, and never
// touches clock, socket or disk.
import type { message } from '@catena/core';
import type { Transaction } from '../state/transaction.ts';

export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Where the chunks of new files go. */
export interface Layouts {
  /**
   * `ordinal` spreads files over chains: consecutive ones begin on different chains. Refuses while no chain is
   * known.
   */
  forFile(inherited: message.Layout | undefined, ordinal: bigint): message.Layout;
  /** What a directory stores of a layout that somebody asks for; refuses what cannot be kept. */
  forDirectory(wanted: message.Layout): message.Layout;
}

export interface Space {
  readonly capacityBytes: bigint;
  readonly usedBytes: bigint;
}

export interface Context {
  /** The owner's clock, nanoseconds since 1970. */
  readonly nowNs: bigint;
  readonly caller: Caller;
  /** The client's 16 bytes, as keys hold them. */
  readonly client: string;
  readonly layouts: Layouts;
  readonly space: Space;
  /** The disk of the names themselves is full: the room that is kept there is for removals (P8). */
  readonly isFull: boolean;
}

export type Operation<Request, Reply> = (state: Transaction, request: Request, context: Context) => Reply;

export interface InodeBody {
  readonly inode: message.Inode;
}
export interface OpenBody {
  readonly inode: message.Inode;
  readonly session: bigint;
  readonly created: boolean;
}
export type EmptyBody = Readonly<Record<string, never>>;
export const done: EmptyBody = {};

/** Flags of open(2) on Linux that matter here. */
export const openFlags = {
  accessMode: 0o3,
  writeOnly: 0o1,
  readWrite: 0o2,
  exclusive: 0o200,
  truncate: 0o1000,
  directory: 0o200000,
  /** Set by the kernel when a file is opened to be executed (FMODE_EXEC). */
  execute: 0x20,
} as const;

export function opensForWriting(flags: number): boolean {
  return (flags & openFlags.accessMode) !== 0;
}
