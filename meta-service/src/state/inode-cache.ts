// Decoded inodes of the store, bounded: two generations, of which the older is dropped when the younger is
// full. Holds only what the store holds; whoever changes the store puts or drops here.
import type { message } from '@catena/core';

export class InodeCache {
  readonly #generationMax: number;
  #young = new Map<string, message.Inode>();
  #old = new Map<string, message.Inode>();

  constructor(inodesMax: number) {
    this.#generationMax = Math.max(1, inodesMax >> 1);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  has(key: string): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  get(key: string): message.Inode | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.put(key, old);
    }
    return old;
  }

  put(key: string, inode: message.Inode): void {
    this.#young.set(key, inode);
    this.#old.delete(key);
    if (this.#young.size < this.#generationMax) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  drop(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }
}
