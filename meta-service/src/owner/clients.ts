// Clients and what they were answered (P17). An update that changed something has its answer in the state,
// where it survives a restart; answers that changed nothing durable are remembered here, so that a late copy
// of a request is never executed again. At most `unansweredMax` answers per client; the client says up to
// which number it has them.
import type { FsError } from '@catena/core';
import { unansweredMax } from '../limits.ts';
import { refusal } from '../state/refusal.ts';
import type { Call } from './call.ts';

export type Outcome =
  | { readonly kind: 'waiting'; readonly call: Call }
  | { readonly kind: 'failed'; readonly error: FsError; readonly batch: number }
  | { readonly kind: 'done'; readonly body: Uint8Array; readonly batch: number };

const window = BigInt(unansweredMax);

export class ClientSession {
  /** Its 16 bytes, as keys hold them. */
  readonly id: string;
  readonly host: string;
  /** Boot clock, when it was last heard. */
  heardMs: number;
  /** No more is taken from it. */
  fenced = false;
  /** Its sessions are being closed. */
  leaving = false;
  /** The highest number it has used. */
  highest: bigint;
  #answeredUpTo: bigint;
  readonly #outcomes = new Map<bigint, Outcome>();

  constructor(id: string, host: string, heardMs: number, highest: bigint) {
    this.id = id;
    this.host = host;
    this.heardMs = heardMs;
    this.highest = highest;
    this.#answeredUpTo = highest > window ? highest - window : 0n;
  }

  get remembered(): number {
    return this.#outcomes.size;
  }

  /** Answers up to this number have arrived and are forgotten. */
  answered(upTo: bigint): void {
    if (upTo <= this.#answeredUpTo) return;
    this.#answeredUpTo = upTo;
    // After a restart only numbers with stored answers are known; the client knows better.
    if (upTo > this.highest) this.highest = upTo;
    if (this.#outcomes.size === 0) return;
    for (const sequence of this.#outcomes.keys()) if (sequence <= upTo) this.#outcomes.delete(sequence);
  }

  /** Refuses numbers that cannot be served; says whether the number was used before. */
  check(sequence: bigint): 'new' | 'seen' {
    this.requireUnanswered(sequence);
    if (sequence > this.#answeredUpTo + window) {
      throw refusal('OVERLOADED', `more than ${unansweredMax} requests of this client are unanswered`);
    }
    if (sequence <= this.highest) return 'seen';
    this.highest = sequence;
    return 'new';
  }

  requireUnanswered(sequence: bigint): void {
    if (sequence <= this.#answeredUpTo) {
      throw refusal('STALE_SEQUENCE', `request ${sequence}; answers up to ${this.#answeredUpTo} had arrived`);
    }
  }

  outcome(sequence: bigint): Outcome | undefined {
    return this.#outcomes.get(sequence);
  }
  remember(sequence: bigint, outcome: Outcome): void {
    this.#outcomes.set(sequence, outcome);
  }
  forget(sequence: bigint): void {
    this.#outcomes.delete(sequence);
  }

  /** The slot in which the answer to this number is kept. */
  static slot(sequence: bigint): number {
    return Number(sequence % window);
  }
}
