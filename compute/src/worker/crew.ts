// The workers of a session: starts one per slot on the platform, restarts those that end, and hands what they
// report to the run that is going on. A slot whose process keeps ending before it says hello is given up,
// with the reason it gave.
import { type Clock, FsError, type Logger, type Random } from '@catena/core';
import type { Platform } from '../platforms/platform.ts';
import type { Failure } from '../schedule/scheduler.ts';
import { type HubEvents, WorkerHub, type WorkerInfo } from './hub.ts';
import type { Order } from './protocol.ts';

export interface CrewListener extends HubEvents {
  /** No worker is left, and none will come. */
  deserted(failure: Failure): void;
}

export interface CrewOptions {
  platform: Platform;
  slots: number;
  threadsPerSlot: number;
  memoryBytesPerSlot: number;
  spillDirectory: string;
  clock: Clock;
  random: Random;
  log: Logger;
}

/** A process that ends this often in a row without a hello will not start the next time either. */
const startsFailedMax = 5;
const restartDelayMs = 100;
const restartDelayMsMax = 5_000;
/** Loading DuckDB takes a second on a busy machine; a minute means that the worker hangs. */
const startTimeoutMs = 60_000;

interface Slot {
  readonly name: string;
  startsFailed: number;
  worker: WorkerInfo | undefined;
  givenUp: boolean;
  lastEnd: string;
}

export class Crew {
  readonly #options: CrewOptions;
  readonly #hub: WorkerHub;
  readonly #slots: Slot[];
  readonly #token: string;
  #address = '';
  #listener: CrewListener | undefined;
  #closed = false;
  #settled: (() => void) | undefined;

  constructor(options: CrewOptions) {
    this.#options = options;
    this.#token = options.random.bytes(32).toString('hex');
    this.#slots = Array.from({ length: options.slots }, (_, index) => ({
      name: `slot-${index}`,
      startsFailed: 0,
      worker: undefined,
      givenUp: false,
      lastEnd: '',
    }));
    const { clock, random, log } = options;
    const events: HubEvents = {
      up: (worker) => this.#up(worker),
      lost: (worker, detail) => this.#lost(worker, detail),
      done: (...report) => this.#listener?.done(...report),
      failed: (...report) => this.#listener?.failed(...report),
    };
    this.#hub = new WorkerHub({ clock, random, log, token: this.#token, events });
  }

  get workers(): WorkerInfo[] {
    return this.#slots.flatMap((slot) => slot.worker ?? []);
  }

  /** Resolves when every slot has its worker; rejects when one cannot start. */
  async start(): Promise<void> {
    this.#address = await this.#hub.listen(this.#options.platform.listenAddress);
    const all = new Promise<void>((resolve) => {
      this.#settled = resolve;
    });
    for (const slot of this.#slots) this.#startSlot(slot);
    const timer = this.#options.clock.timer(startTimeoutMs, () => this.#settled?.());
    await all;
    timer.cancel();
    this.#settled = undefined;
    const absent = this.#slots.find((slot) => slot.worker === undefined);
    if (absent === undefined) return;
    await this.close();
    const reason = absent.lastEnd === '' ? `no hello in ${startTimeoutMs} ms` : absent.lastEnd;
    throw new FsError('WORKER_LOST', `worker ${absent.name} did not start: ${reason}`);
  }

  /** One run at a time listens. */
  listen(listener: CrewListener | undefined): void {
    this.#listener = listener;
    if (listener !== undefined) this.#reportDeserted();
  }

  send(worker: string, order: Order): void {
    this.#hub.send(worker, order);
  }

  /** Ends a worker's process; its slot gets a new one. */
  kill(worker: string): void {
    const slot = this.#slots.find((candidate) => candidate.worker?.id === worker);
    if (slot !== undefined) this.#options.platform.kill(slot.name);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listener = undefined;
    await this.#options.platform.close();
    await this.#hub.close();
  }

  #startSlot(slot: Slot): void {
    const { platform, threadsPerSlot, memoryBytesPerSlot, spillDirectory } = this.#options;
    const start = {
      slot: slot.name,
      address: this.#address,
      token: this.#token,
      threads: threadsPerSlot,
      memoryBytes: memoryBytesPerSlot,
      spillDirectory,
    };
    platform.start(start, (pid, detail) => this.#ended(slot, pid, detail));
  }

  #up(worker: WorkerInfo): void {
    const slot = this.#slots.find((candidate) => candidate.name === worker.slot);
    if (slot === undefined || slot.worker !== undefined || this.#closed) {
      this.#hub.drop(worker.id, 'its slot has a worker');
      return;
    }
    slot.worker = worker;
    slot.startsFailed = 0;
    this.#listener?.up(worker);
    this.#settle();
  }

  #lost(worker: WorkerInfo, detail: string): void {
    const slot = this.#slots.find((candidate) => candidate.worker?.id === worker.id);
    if (slot === undefined) return;
    slot.worker = undefined;
    if (this.#closed) return;
    this.#options.log.warning('worker.loss', { worker: worker.id, pid: worker.pid, detail });
    this.#listener?.lost(worker, `worker ${worker.id} (process ${worker.pid}): ${detail}`);
    // It may hang rather than be dead; its end starts the next one.
    this.#options.platform.kill(slot.name);
  }

  #ended(slot: Slot, pid: number, detail: string): void {
    if (this.#closed) return;
    slot.lastEnd = detail;
    if (slot.worker?.pid === pid) this.#hub.drop(slot.worker.id, detail);
    else if (slot.worker === undefined) slot.startsFailed++;
    if (slot.startsFailed >= startsFailedMax) {
      slot.givenUp = true;
      this.#options.log.error('worker.absence', { slot: slot.name, detail });
      this.#reportDeserted();
      this.#settle();
      return;
    }
    const delayMs = Math.min(restartDelayMs * 2 ** slot.startsFailed, restartDelayMsMax);
    this.#options.clock.timer(delayMs, () => {
      if (!this.#closed) this.#startSlot(slot);
    });
  }

  #settle(): void {
    if (this.#slots.every((slot) => slot.worker !== undefined || slot.givenUp)) this.#settled?.();
  }

  #reportDeserted(): void {
    if (!this.#slots.every((slot) => slot.givenUp)) return;
    const detail = `no worker starts any more: ${this.#slots[0]?.lastEnd}`;
    this.#listener?.deserted({ code: 'WORKER_LOST', detail, retryable: false, lostInputs: [] });
  }
}
