// Numbers that are never used twice, not even after a crash: inode ids come from blocks whose reservation is
// on the medium before the first of them is given out (P13); session ids carry the epoch of the log, which
// every opening raises.
import { strict as assert } from 'node:assert';
import { identifierBlock } from '../limits.ts';
import { refusal } from '../state/refusal.ts';
import type { Identifiers } from '../state/transaction.ts';

/** Writes `ceiling` as the first ordinal that is not reserved, and calls back when that is on the medium. */
export type Reserve = (ceiling: bigint, done: () => void) => void;

const sessionBits = 32n;
const ordinalMax = 1n << 48n;

export class ReservedIdentifiers implements Identifiers {
  readonly #reserve: Reserve;
  readonly #sessionBase: bigint;
  #sessions = 0;
  #next: bigint;
  /** Ids below may be given out. */
  #ceiling: bigint;
  #reserving = false;

  /** `ceiling`: the one that the state holds; what lies below it may be in use. */
  constructor(ceiling: bigint, epoch: bigint, reserve: Reserve) {
    assert(epoch < 1n << (63n - sessionBits), 'epochs are too many for session ids');
    this.#reserve = reserve;
    this.#next = ceiling;
    this.#ceiling = ceiling;
    this.#sessionBase = epoch << sessionBits;
  }

  /** Asks for another block when half of the last one is used. */
  prepare(): void {
    if (this.#reserving || this.#ceiling - this.#next >= identifierBlock / 2n) return;
    this.#reserving = true;
    const wanted = this.#ceiling + identifierBlock;
    assert(wanted < ordinalMax, 'inode ids are used up');
    this.#reserve(wanted, () => {
      this.#reserving = false;
      this.#ceiling = wanted;
    });
  }

  get isEmpty(): boolean {
    return this.#next === this.#ceiling;
  }

  ordinal(): bigint {
    if (this.#next === this.#ceiling) throw refusal('OVERLOADED', 'inode ids are being reserved');
    return this.#next++;
  }

  session(): bigint {
    this.#sessions++;
    assert(this.#sessions < 2 ** Number(sessionBits), 'session ids are used up');
    return this.#sessionBase | BigInt(this.#sessions);
  }
}
