// Effects into the log: what operations wrote since the last append is one batch and one record. One batch is
// in flight while the next collects; there is no timer: a batch leaves at the end of the turn of the event
// loop in which it began, or as soon as the one before it is committed. Answers wait here for the batch that
// they saw (P14).
import { strict as assert } from 'node:assert';
import type { AppendLog, FsError } from '@catena/core';
import { batchChangesMax } from '../limits.ts';
import { type EncodedBatch, encodeLogRecord } from '../state/log-record.ts';
import type { Change } from '../state/overlay.ts';
import type { Transaction } from '../state/transaction.ts';

export interface JournalOptions {
  readonly log: AppendLog;
  /** The last chance to add to a batch before it leaves. */
  readonly beforeSeal: () => void;
  /** In the order of the batches, before their answers leave. */
  readonly onCommitted: (batch: number, number: bigint, encoded: EncodedBatch) => void;
  /** Nothing more can be promised: the process must end. */
  readonly onFailure: (error: FsError) => void;
}

type Act = () => void;

export class Journal {
  readonly #options: JournalOptions;
  /** Number of the batch that collects; numbers begin at 1 with each process. */
  #collecting = 1;
  #committed = 0;
  #changed = new Map<string, Change>();
  #waiting: Act[] = [];
  #inFlightWaiting: Act[] = [];
  #inFlight = false;
  #scheduled = false;
  #failed = false;
  /** Who waits for the medium: up to which batch, in ascending order. */
  #flushWaiters: { batch: number; act: Act }[] = [];
  #flushing = false;
  readonly #seal: Act = () => {
    this.#scheduled = false;
    this.#append();
  };

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** The newest batch that has effects; what was seen is at most that. */
  get newest(): number {
    return this.#changed.size > 0 ? this.#collecting : this.#collecting - 1;
  }
  get isFull(): boolean {
    return this.#changed.size >= batchChangesMax;
  }

  /** Makes the operation's effects visible, and part of the batch that collects; returns its number. */
  add(transaction: Transaction): number {
    transaction.commit(this.#collecting, this.#changed);
    if (this.#changed.size > 0 && !this.#scheduled && !this.#inFlight) {
      this.#scheduled = true;
      setImmediate(this.#seal);
    }
    return this.newest;
  }

  /** Calls `act` when `batch` is committed: at once if it is. After a failure, never. */
  whenCommitted(batch: number, act: Act): void {
    assert(batch <= this.#collecting, `batch ${batch} does not exist yet`);
    if (batch <= this.#committed) act();
    else if (batch === this.#collecting) this.#waiting.push(act);
    else this.#inFlightWaiting.push(act);
  }

  /** Calls `act` when `batch` is on the medium. */
  whenFlushed(batch: number, act: Act): void {
    this.whenCommitted(batch, () => {
      this.#flushWaiters.push({ batch, act });
      this.#flush();
    });
  }

  #append(): void {
    if (this.#failed || this.#inFlight || this.#changed.size === 0) return;
    const { log, beforeSeal } = this.#options;
    this.#inFlight = true;
    beforeSeal();
    const batch = this.#collecting++;
    const number = log.appended + 1n;
    const encoded = encodeLogRecord(log.epoch, number, this.#changed);
    this.#inFlightWaiting = this.#waiting;
    this.#changed = new Map();
    this.#waiting = [];
    log.append([encoded.record]).then(
      (last) => {
        if (this.#failed) return;
        assert(last === number, `record ${number} became ${last}`);
        this.#inFlight = false;
        this.#committed = batch;
        this.#options.onCommitted(batch, number, encoded);
        const acts = this.#inFlightWaiting;
        this.#inFlightWaiting = [];
        for (const act of acts) act();
        this.#append();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #flush(): void {
    if (this.#flushing || this.#failed || this.#flushWaiters.length === 0) return;
    this.#flushing = true;
    const covered = this.#committed;
    this.#options.log.flush().then(
      () => {
        if (this.#failed) return;
        this.#flushing = false;
        const done = this.#flushWaiters.filter(({ batch }) => batch <= covered);
        this.#flushWaiters = this.#flushWaiters.filter(({ batch }) => batch > covered);
        for (const { act } of done) act();
        this.#flush();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.onFailure(error as FsError);
  }

  /** Takes and answers nothing any more, as after a failure. */
  abandon(): void {
    this.#failed = true;
  }

  /** Resolves when nothing is in flight or collecting. */
  async drain(): Promise<void> {
    while (!this.#failed && (this.#inFlight || this.#changed.size > 0)) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
}
