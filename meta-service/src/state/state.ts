// Everything the service knows: the store of committed records, the overlay of effects above it, and what
// lives in memory alone (open files, truncations under way). Operations see it only through a Transaction.
import type { message } from '@catena/core';
import { inodeCacheMax } from '../limits.ts';
import { InodeCache } from './inode-cache.ts';
import { nameOffset } from './name-hash.ts';
import { OpenFiles } from './open-files.ts';
import { type Cell, Overlay } from './overlay.ts';
import { inodes, type Table } from './tables.ts';

/** Committed and applied records. What `get` and `range` hand out may be read only until the next call. */
export interface CommittedStore {
  get(key: string): Uint8Array | undefined;
  /** In the order of the keys, from `from` up to and without `to`. */
  range(from: string, to: string): Iterable<readonly [string, Uint8Array]>;
}

export interface StateOptions {
  inodeCacheMax?: number;
  /** Only tests give another one, to make names collide. */
  nameOffset?: (name: Uint8Array) => bigint;
}

export class State {
  readonly store: CommittedStore;
  readonly overlay = new Overlay();
  readonly openFiles = new OpenFiles();
  readonly inodeCache: InodeCache;
  readonly nameOffset: (name: Uint8Array) => bigint;
  /** Inodes whose truncation is not finished: nothing is served of them until it is (P19). */
  readonly truncating = new Set<bigint>();
  /** Files of every type, directories included. */
  fileCount = 0n;

  constructor(store: CommittedStore, options: StateOptions = {}) {
    this.store = store;
    this.inodeCache = new InodeCache(options.inodeCacheMax ?? inodeCacheMax);
    this.nameOffset = options.nameOffset ?? nameOffset;
  }

  /** The record in the store, below the overlay. */
  stored<Value>(table: Table<Value>, key: string): Value | undefined {
    if ((table as Table<unknown>) === inodes) return this.#storedInode(key) as Value | undefined;
    const bytes = this.store.get(key);
    return bytes === undefined ? undefined : table.decode(bytes);
  }

  #storedInode(key: string): message.Inode | undefined {
    const cached = this.inodeCache.get(key);
    if (cached !== undefined) return cached;
    const bytes = this.store.get(key);
    if (bytes === undefined) return undefined;
    const inode = inodes.decode(bytes);
    this.inodeCache.put(key, inode);
    return inode;
  }

  /** The store now holds everything up to `batch` of these keys. */
  applied(keys: Iterable<string>, batch: number): void {
    for (const key of keys) {
      const cell = this.overlay.release(key, batch);
      if (cell === undefined) continue;
      if (cell.table === inodes) this.#applyInode(key, cell);
    }
  }

  #applyInode(key: string, cell: Cell): void {
    // A new inode is not kept: most files are made, closed and not asked for again soon.
    if (cell.value === undefined) this.inodeCache.drop(key);
    else if (this.inodeCache.has(key)) this.inodeCache.put(key, cell.value as message.Inode);
  }
}
