// Effects that the store does not hold yet (P14): uncommitted, or committed and not yet applied. A cell remembers the batch that
// wrote it, so that an answer can be held until what it saw is committed. Never holds more than the owner lets in (limits).
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

/** The cells of one directory's entries, in order when a listing wants them so. */
class Group {
  readonly cells = new Map<string, Cell>();
  #sorted: string[] | undefined;

  set(key: string, cell: Cell): void {
    if (!this.cells.has(key)) this.#sorted = undefined;
    this.cells.set(key, cell);
  }
  delete(key: string): void {
    if (this.cells.delete(key)) this.#sorted = undefined;
  }
  get sorted(): readonly string[] {
    this.#sorted ??= [...this.cells.keys()].sort(byBytes);
    return this.#sorted;
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
    this.#cells.set(key, cell);
    if (key.startsWith(tableTag.entry)) {
      const prefix = key.slice(0, entryPrefixLength);
      const group = this.#groups.get(prefix) ?? new Group();
      if (group.cells.size === 0) this.#groups.set(prefix, group);
      group.set(key, cell);
    }
  }

  /** Forgets the cell if nothing newer than `batch` wrote it; returns it if so. */
  release(key: string, batch: number): Cell | undefined {
    const cell = this.#cells.get(key);
    if (cell === undefined || cell.batch > batch) return undefined;
    this.#cells.delete(key);
    if (key.startsWith(tableTag.entry)) {
      const prefix = key.slice(0, entryPrefixLength);
      const group = this.#groups.get(prefix);
      group?.delete(key);
      if (group?.cells.size === 0) this.#groups.delete(prefix);
    }
    return cell;
  }

  /** The cells of one directory's entries from `from` on, in order. */
  *entries(prefix: string, from: string): Generator<readonly [string, Cell]> {
    const group = this.#groups.get(prefix);
    if (group === undefined) return;
    const { sorted } = group;
    for (let at = firstNotBelow(sorted, from); at < sorted.length; at++) {
      const key = sorted[at]!;
      const cell = group.cells.get(key);
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
