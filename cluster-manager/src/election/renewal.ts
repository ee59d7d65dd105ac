// Keeps the role's lease alive from a thread of its own, so that a busy main loop does not lose it, and only
// while the main loop shows that it is not stuck (P3). Valid is what this process can prove on its own clock;
// what etcd thinks of the lease is never asked.
import { Worker } from 'node:worker_threads';
import type { Clock } from '@catena/core';
import type { TakenRole } from './role.ts';

/** What both threads see, as milliseconds of the boot clock. */
export const slots = { mainLoop: 0, validUntil: 1 } as const;

export interface RenewalData {
  readonly hosts: readonly string[];
  readonly shared: SharedArrayBuffer;
}

/** The thread says this when it is connected; it is told the lease to renew. */
export const readyMessage = 'ready';

export class Renewal {
  readonly #clock: Clock;
  readonly #shared = new BigInt64Array(new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT));
  readonly #worker: Worker;
  readonly #ready: Promise<void>;

  private constructor(hosts: readonly string[], clock: Clock, workerUrl: URL) {
    this.#clock = clock;
    const workerData: RenewalData = { hosts, shared: this.#shared.buffer };
    // It runs what was built, also below a test runner that runs sources.
    this.#worker = new Worker(workerUrl, { workerData, execArgv: [] });
    this.#ready = new Promise((resolve) => this.#worker.once('message', () => resolve()));
  }

  /**
   * Starts the thread. A role is taken only after that: on a busy machine the start may take longer than a role
   * lasts. An error of the thread is one of ours and ends the process.
   */
  static async start(hosts: readonly string[], clock: Clock, workerUrl?: URL): Promise<Renewal> {
    const renewal = new Renewal(hosts, clock, workerUrl ?? new URL('./renewal-worker.js', import.meta.url));
    await renewal.#ready;
    return renewal;
  }

  /** From now on this role is renewed. Once. */
  hold(role: TakenRole): void {
    Atomics.store(this.#shared, slots.validUntil, BigInt(Math.floor(role.validUntilMs)));
    this.beat();
    this.#worker.postMessage(role.lease);
  }

  /** The main loop goes round: to be called several times a second. */
  beat(): void {
    Atomics.store(this.#shared, slots.mainLoop, BigInt(Math.floor(this.#clock.nowMs())));
  }

  /** Whether the role is certainly still ours. */
  get isValid(): boolean {
    return this.#clock.nowMs() < Number(Atomics.load(this.#shared, slots.validUntil));
  }

  /** From now on it is not. */
  async stop(): Promise<void> {
    Atomics.store(this.#shared, slots.validUntil, 0n);
    await this.#worker.terminate();
  }
}
