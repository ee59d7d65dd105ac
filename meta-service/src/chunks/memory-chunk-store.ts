// Chunks in memory: bytes per inode and chunk index, with the same arithmetic as the storage servers'
// clients. It can be told to fail, as storage servers do when they cannot be reached.
import { FsError, type message } from '@catena/core';
import type { Space } from '../operations/operation.ts';
import type { ChunkStore } from './chunk-store.ts';

export class MemoryChunkStore implements ChunkStore {
  /** Stored length of each chunk that exists. */
  readonly #chunks = new Map<bigint, Map<bigint, number>>();
  /** Every call fails while this is set. */
  unreachable = false;
  /** Set: calls wait for this before they do anything. */
  gate: Promise<void> | undefined;

  /** As a client's write of zeros does. */
  write(inode: bigint, layout: message.Layout, offset: bigint, bytes: number): void {
    const size = BigInt(layout.chunkSize);
    const file = this.#chunks.get(inode) ?? new Map<bigint, number>();
    this.#chunks.set(inode, file);
    const end = offset + BigInt(bytes);
    for (let index = offset / size; index * size < end; index++) {
      const reach = end - index * size;
      const length = Number(reach < size ? reach : size);
      file.set(index, Math.max(file.get(index) ?? 0, length));
    }
  }

  chunksOf(inode: bigint): number {
    return this.#chunks.get(inode)?.size ?? 0;
  }
  get inodes(): readonly bigint[] {
    return [...this.#chunks.keys()];
  }

  async remove(inode: bigint): Promise<void> {
    await this.#arrive();
    this.#chunks.delete(inode);
  }

  async truncate(inode: bigint, layout: message.Layout, length: bigint): Promise<void> {
    await this.#arrive();
    const size = BigInt(layout.chunkSize);
    const file = this.#chunks.get(inode);
    if (file === undefined) return;
    for (const [index, stored] of file) {
      const kept = length - index * size;
      if (kept <= 0n) file.delete(index);
      else if (kept < BigInt(stored)) file.set(index, Number(kept));
    }
    if (file.size === 0) this.#chunks.delete(inode);
  }

  async queryLength(inode: bigint, layout: message.Layout): Promise<bigint> {
    await this.#arrive();
    let length = 0n;
    for (const [index, stored] of this.#chunks.get(inode) ?? []) {
      const end = index * BigInt(layout.chunkSize) + BigInt(stored);
      if (end > length) length = end;
    }
    return length;
  }

  async space(): Promise<Space> {
    await this.#arrive();
    return { capacityBytes: 1n << 40n, usedBytes: 0n };
  }

  async #arrive(): Promise<void> {
    await this.gate;
    if (this.unreachable) throw new FsError('UNREACHABLE', 'the storage servers');
  }
}
