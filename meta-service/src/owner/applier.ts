// Brings committed batches into the store, behind the answers (P14): all that waits goes in one write, with the position in the
// log, and then leaves the overlay. One write at a time; between two it waits a little, so that a directory that many batches
// touched is written once. Log segments below what the store has on the medium are dropped (P16).
import { strict as assert } from 'node:assert';
import type { AppendLog, Clock, FsError, KeyValueStore, Timer } from '@catena/core';
import { keyBytes, positionKey } from '../state/keys.ts';
import type { EncodedChange } from '../state/log-record.ts';
import type { State } from '../state/state.ts';
import { positions, recordVersion } from '../state/tables.ts';

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
  #waiting = new Map<string, Uint8Array | undefined>();
  #batch = 0;
  #number = 0n;
  #writing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #failed = false;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** A batch that the log has taken as record `number`. */
  add(batch: number, number: bigint, changes: readonly EncodedChange[]): void {
    assert(batch > this.#batch && number > this.#number, 'batches are applied in order');
    for (const { key, value } of changes) this.#waiting.set(key, value);
    this.#batch = batch;
    this.#number = number;
    if (this.#waiting.size >= changesHurry) this.#start();
    else if (this.#writing === undefined) this.#startSoon();
  }

  /** Resolves when everything that was added before is in the store. */
  async drain(): Promise<void> {
    while ((this.#waiting.size > 0 || this.#writing !== undefined) && !this.#failed) {
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
    if (this.#writing !== undefined || this.#waiting.size === 0 || this.#failed) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#writing = this.#write().then(
      () => {
        this.#writing = undefined;
        if (this.#waiting.size >= changesHurry) this.#start();
        else if (this.#waiting.size > 0) this.#startSoon();
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
    const changes = this.#waiting;
    const batch = this.#batch;
    const number = this.#number;
    this.#waiting = new Map();
    const position = { recordVersion, epoch: log.epoch, number };
    const list = [
      { key: keyBytes(positionKey), value: positions.encode(position) as Uint8Array | undefined },
    ];
    for (const [key, value] of changes) list.push({ key: keyBytes(key), value });
    await store.write(list, number);
    if (this.#failed) return;
    state.applied(changes.keys(), batch);
    onApplied();
    await log.trim(store.flushedPosition + 1n);
  }
}
