// Effects that the store does not hold yet (P14): uncommitted, or committed and not yet applied. A cell
// remembers the batch that wrote it, so that an answer can be held until what it saw is committed. Never
// holds more than the owner lets in (limits).
import { entriesPrefix, tableTag } from './keys.ts';
import type { Table } from './tables.ts';

/** One record as an operation left it. First a change of its transaction, then a cell here: one object for both. */
export interface Change {
  readonly table: Table<unknown>;
  /** undefined: the record is deleted. */
  readonly value: unknown;
  /** Number of the batch that it belongs to; 0 before it belongs to one. */
  batch: number;
}
export type Cell = Change;

const entryPrefixLength = entriesPrefix(0n).length;
const entryTag = tableTag.entry.charCodeAt(0);

/** The keys of one directory's entries, also of some that have left; sorted out when a listing asks. */
class Group {
  /** Entries that are in the overlay. */
  live = 0;
  #keys: string[] = [];
  #isSorted = true;

  add(key: string, cells: ReadonlyMap<string, Cell>): void {
    this.live++;
    this.#keys.push(key);
    this.#isSorted = false;
    // A directory that is written all the time must not keep the keys that have left.
    if (this.#keys.length > 2 * this.live + 64) this.#sort(cells);
  }

  sorted(cells: ReadonlyMap<string, Cell>): readonly string[] {
    if (!this.#isSorted) this.#sort(cells);
    return this.#keys;
  }

  #sort(cells: ReadonlyMap<string, Cell>): void {
    const keys = [...new Set(this.#keys)].filter((key) => cells.has(key));
    this.#keys = keys.sort(byBytes);
    this.#isSorted = true;
  }
}

export class Overlay {
  readonly #cells = new Map<string, Cell>();
  readonly #groups = new Map<string, Group>();

  get size(): number {
    return this.#cells.size;
  }

  get(key: string): Cell | undefined {
    return this.#cells.get(key);
  }

  set(key: string, cell: Cell): void {
    const { size } = this.#cells;
    this.#cells.set(key, cell);
    if (this.#cells.size === size || key.charCodeAt(0) !== entryTag) return;
    const prefix = key.slice(0, entryPrefixLength);
    let group = this.#groups.get(prefix);
    if (group === undefined) {
      group = new Group();
      this.#groups.set(prefix, group);
    }
    group.add(key, this.#cells);
  }

  /** Forgets the cell if nothing newer than `batch` wrote it; returns it if so. */
  release(key: string, batch: number): Cell | undefined {
    const cell = this.#cells.get(key);
    if (cell === undefined || cell.batch > batch) return undefined;
    this.#cells.delete(key);
    if (key.charCodeAt(0) === entryTag) {
      const prefix = key.slice(0, entryPrefixLength);
      const group = this.#groups.get(prefix);
      if (group !== undefined && --group.live === 0) this.#groups.delete(prefix);
    }
    return cell;
  }

  /** The cells of one directory's entries from `from` on, in order. */
  *entries(prefix: string, from: string): Generator<readonly [string, Cell]> {
    const sorted = this.#groups.get(prefix)?.sorted(this.#cells);
    if (sorted === undefined) return;
    for (let at = firstNotBelow(sorted, from); at < sorted.length; at++) {
      const key = sorted[at]!;
      const cell = this.#cells.get(key);
      if (cell !== undefined) yield [key, cell];
    }
  }
}

function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function firstNotBelow(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
