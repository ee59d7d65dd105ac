// Where new files go: over the chains of the newest chain table that the manager has told of. Consecutive
// files begin on chains far apart (multiplication by the golden ratio), so that small files load all chains
// alike whatever pattern they are made in.

import type { message } from '@catena/core';
import { chunkBytesMax, chunkBytesMin } from '../limits.ts';
import type { Layouts } from '../operations/operation.ts';
import { refusal } from '../state/refusal.ts';

export interface LayoutDefaults {
  readonly chunkSizeBytes: number;
  readonly stripe: number;
}

const goldenRatio = 0x9e3779b1;

export class TableLayouts implements Layouts {
  readonly #defaults: LayoutDefaults;
  #tables: ReadonlyMap<number, message.ChainTable> = new Map();

  constructor(defaults: LayoutDefaults) {
    this.#defaults = defaults;
  }

  /** All tables of the routing. */
  use(tables: Iterable<message.ChainTable>): void {
    this.#tables = new Map([...tables].map((table) => [table.id, table]));
  }

  /** Tables of a routing message: all of them, or those that changed. */
  add(tables: Iterable<message.ChainTable>, whole: boolean): void {
    this.use(whole ? tables : [...this.#tables.values(), ...tables]);
  }

  get isKnown(): boolean {
    return this.#tables.size > 0;
  }

  forFile(inherited: message.Layout | undefined, ordinal: bigint): message.Layout {
    // Just started, and the manager has not said anything yet: the client tries again.
    if (!this.isKnown) throw refusal('OVERLOADED', 'no chain table is known yet');
    const table = this.#table(inherited?.table ?? 0);
    if (table === undefined || table.chains.length === 0)
      throw refusal('NO_CHAIN', 'no chain table is known yet');
    const chains = table.chains.length;
    const spread = Math.imul(Number(ordinal & 0xffff_ffffn), goldenRatio) >>> 0;
    const layout = inherited ?? this.#default();
    return {
      table: table.id,
      tableVersion: table.version,
      chunkSize: layout.chunkSize,
      stripe: Math.min(layout.stripe, chains),
      first: Math.floor((spread * chains) / 2 ** 32),
      flushEachWrite: layout.flushEachWrite,
    };
  }

  /** 0 and absent fields stand for the default. */
  forDirectory(wanted: message.Layout): message.Layout {
    const chunkSize = wanted.chunkSize === 0 ? this.#defaults.chunkSizeBytes : wanted.chunkSize;
    const isPower = (chunkSize & (chunkSize - 1)) === 0;
    if (!isPower || chunkSize < chunkBytesMin || chunkSize > chunkBytesMax) {
      throw refusal('INVALID_ARGUMENT', `chunk size ${chunkSize}: a power of two, 64 KiB to 64 MiB`);
    }
    const stripe = wanted.stripe === 0 ? this.#defaults.stripe : wanted.stripe;
    if (stripe > stripeMax)
      throw refusal('INVALID_ARGUMENT', `stripe ${stripe}: at most ${stripeMax} chains`);
    if (wanted.table !== 0 && this.isKnown && !this.#tables.has(wanted.table)) {
      throw refusal('INVALID_ARGUMENT', `no chain table ${wanted.table}`);
    }
    const { table, flushEachWrite } = wanted;
    return { table, tableVersion: 0, chunkSize, stripe, first: 0, flushEachWrite };
  }

  #default(): message.Layout {
    const { chunkSizeBytes, stripe } = this.#defaults;
    return { table: 0, tableVersion: 0, chunkSize: chunkSizeBytes, stripe, first: 0, flushEachWrite: false };
  }

  /** Table 0 is whichever has the lowest number. */
  #table(id: number): message.ChainTable | undefined {
    if (id !== 0) return this.#tables.get(id);
    let lowest: message.ChainTable | undefined;
    for (const table of this.#tables.values()) {
      if (lowest === undefined || table.id < lowest.id) lowest = table;
    }
    return lowest;
  }
}

/** More chains than a table has are never used; the number only bounds nonsense. */
const stripeMax = 4096;
