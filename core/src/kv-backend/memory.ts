// The key-value store in memory: for tests and simulation. It can lose power: writes that were not flushed
// are gone.
import { strict as assert } from 'node:assert';
import { FsError } from '../errors.ts';
import { type KeyRange, type KeyValueChange, type KeyValueStore, keyBytesMax } from './key-value-store.ts';

/** What survives: handed to the next opening. Keys are kept as latin1 text, which sorts as their bytes do. */
export class MemoryStoreMedium {
  committed = new Map<string, Buffer>();
  position = 0n;
  flushed = new Map<string, Buffer>();
  flushedPosition = 0n;

  losePower(): void {
    this.committed = new Map(this.flushed);
    this.position = this.flushedPosition;
  }
}

export function openMemoryStore(medium: MemoryStoreMedium): KeyValueStore {
  return new MemoryStore(medium);
}

class MemoryStore implements KeyValueStore {
  readonly #medium: MemoryStoreMedium;
  #sorted: string[] | undefined;
  #open = true;

  constructor(medium: MemoryStoreMedium) {
    this.#medium = medium;
  }

  get position(): bigint {
    return this.#medium.position;
  }
  get flushedPosition(): bigint {
    return this.#medium.flushedPosition;
  }

  get(key: Uint8Array): Buffer | undefined {
    this.#check();
    const value = this.#medium.committed.get(textOf(key));
    return value === undefined ? undefined : Buffer.from(value);
  }

  *range(range: KeyRange): Iterable<readonly [Buffer, Buffer]> {
    this.#check();
    this.#sorted ??= [...this.#medium.committed.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const from = textOf(range.from);
    const to = textOf(range.to);
    let left = range.limit ?? Number.POSITIVE_INFINITY;
    for (let at = firstNotBelow(this.#sorted, from); at < this.#sorted.length && left > 0; at++, left--) {
      const key = this.#sorted[at]!;
      if (key >= to) return;
      yield [Buffer.from(key, 'latin1'), Buffer.from(this.#medium.committed.get(key)!)];
    }
  }

  async write(changes: readonly KeyValueChange[], position: bigint): Promise<void> {
    this.#check();
    assert(position >= this.#medium.position, 'the position went back');
    for (const { key } of changes)
      assert(key.length > 0 && key.length <= keyBytesMax, `a key of ${key.length} bytes`);
    for (const { key, value } of changes) {
      const text = textOf(key);
      if (value === undefined) this.#medium.committed.delete(text);
      else this.#medium.committed.set(text, Buffer.from(value));
    }
    this.#medium.position = position;
    this.#sorted = undefined;
  }

  async flush(): Promise<void> {
    this.#check();
    this.#medium.flushed = new Map(this.#medium.committed);
    this.#medium.flushedPosition = this.#medium.position;
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    await this.flush();
    this.#open = false;
  }

  #check(): void {
    if (!this.#open) throw new FsError('IO', 'the store is closed');
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

function firstNotBelow(sorted: readonly string[], from: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low;
}
