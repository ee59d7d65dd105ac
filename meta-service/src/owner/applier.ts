// Brings committed batches into the store, behind the answers (P14): all that waits goes in one write, with
// the position in the log, and then leaves the overlay. One write at a time; between two it waits a little,
// so that a directory that many batches touched is written once. Log segments below what the store has on the
// medium are dropped (P16).
import { strict as assert } from 'node:assert';
import type { AppendLog, Clock, FsError, KeyValueChange, KeyValueStore, Timer } from '@catena/core';
import { keyBytes, positionKey, tableTag } from '../state/keys.ts';
import { type EncodedBatch, valueAt } from '../state/log-record.ts';
import type { State } from '../state/state.ts';
import { encode, positions, recordVersion } from '../state/tables.ts';

export interface ApplierOptions {
  readonly state: State;
  readonly store: KeyValueStore;
  readonly log: AppendLog;
  readonly clock: Clock;
  /** Pause between two writes. */
  readonly intervalMs: number;
  readonly onFailure: (error: FsError) => void;
  /** The overlay has become smaller. */
  readonly onApplied: () => void;
}

/** Changes that end the pause early: the overlay must not run full. */
const changesHurry = 8_192;

export class Applier {
  readonly #options: ApplierOptions;
  #waiting: EncodedBatch[] = [];
  #waitingChanges = 0;
  #batch = 0;
  #number = 0n;
  #writing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #failed = false;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** A batch that the log has taken as record `number`. */
  add(batch: number, number: bigint, encoded: EncodedBatch): void {
    assert(batch > this.#batch && number > this.#number, 'batches are applied in order');
    this.#waiting.push(encoded);
    this.#waitingChanges += encoded.keys.length;
    this.#batch = batch;
    this.#number = number;
    if (this.#waitingChanges >= changesHurry) this.#start();
    else if (this.#writing === undefined) this.#startSoon();
  }

  /** Resolves when everything that was added before is in the store. */
  async drain(): Promise<void> {
    while ((this.#waiting.length > 0 || this.#writing !== undefined) && !this.#failed) {
      this.#start();
      await this.#writing;
    }
  }

  /** Writes nothing any more, as after a failure. */
  abandon(): void {
    this.#failed = true;
  }

  #startSoon(): void {
    this.#timer ??= this.#options.clock.timer(
      this.#options.intervalMs,
      () => {
        this.#timer = undefined;
        this.#start();
      },
      { background: true },
    );
  }

  #start(): void {
    if (this.#writing !== undefined || this.#waiting.length === 0 || this.#failed) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#writing = this.#write().then(
      () => {
        this.#writing = undefined;
        if (this.#waitingChanges >= changesHurry) this.#start();
        else if (this.#waiting.length > 0) this.#startSoon();
      },
      (error: unknown) => {
        this.#writing = undefined;
        if (this.#failed) return;
        this.#failed = true;
        this.#options.onFailure(error as FsError);
      },
    );
  }

  async #write(): Promise<void> {
    const { state, store, log, onApplied } = this.#options;
    const batches = this.#waiting;
    const batch = this.#batch;
    const number = this.#number;
    this.#waiting = [];
    this.#waitingChanges = 0;
    const position = encode(positions, { recordVersion, epoch: log.epoch, number });
    const changes = newest(batches);
    changes.push({ key: keyBytes(positionKey), value: position });
    await store.write(changes, number);
    if (this.#failed) return;
    for (const { keys } of batches) state.applied(keys, batch);
    onApplied();
    await log.trim(store.flushedPosition + 1n);
  }
}

/**
 * What the batches leave together: of each key only its last value. A session's key is written once and removed
 * once: if both are here, the store never hears of it. Most files are opened and closed between two writes.
 */
function newest(batches: readonly EncodedBatch[]): KeyValueChange[] {
  const places = new Map<string, number>();
  const changes: (KeyValueChange | undefined)[] = [];
  for (let at = batches.length - 1; at >= 0; at--) {
    const batch = batches[at]!;
    for (let index = 0; index < batch.keys.length; index++) {
      const key = batch.keys[index]!;
      const place = places.get(key);
      if (place === undefined) {
        places.set(key, changes.length);
        changes.push({ key: keyBytes(key), value: valueAt(batch, index) });
      } else if (key.startsWith(tableTag.session)) {
        changes[place] = undefined;
      }
    }
  }
  return changes.filter((change) => change !== undefined);
}
