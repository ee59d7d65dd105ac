// Work on chunks that must succeed some day: repeated for ever with growing pauses, because storage servers
// come back. So much of it at once. What failed leaves its lane before it pauses, and work that has failed before
// gets half of the lanes at most: a chain that is away holds up nobody whose chains are there.
import { type Clock, FsError, type Logger } from '@catena/core';

const firstPauseMs = 100;
const longestPauseMs = 5_000;

export interface Repeater {
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts when the service stops. */
  readonly signal: AbortSignal;
}

export interface Work<Result> {
  /** What the log says of an attempt that failed. */
  readonly event: string;
  readonly inode: bigint;
  /** One attempt. Only an FsError is a reason for another. */
  act(): Promise<Result>;
  /** Once, after the attempt that succeeded; never after the service stopped. */
  done(result: Result): void;
  /** After each attempt that failed; the next one stands in the queue then, or pauses. */
  failed?(): void;
}

interface Task {
  readonly work: Work<unknown>;
  /** 0 until the first failure. */
  pauseMs: number;
}

/** As bounded as its callers are: it holds one entry for each piece of their work. */
export class Lanes {
  readonly #repeater: Repeater;
  readonly #atOnce: number;
  readonly #repeatedAtOnce: number;
  readonly #fresh: Task[] = [];
  readonly #repeated: Task[] = [];
  #running = 0;
  #repeatedRunning = 0;
  #pausing = 0;
  #repeatedIsNext = false;

  constructor(atOnce: number, repeater: Repeater) {
    this.#atOnce = atOnce;
    this.#repeatedAtOnce = Math.max(1, Math.floor(atOnce / 2));
    this.#repeater = repeater;
  }

  /** All work that is not done. */
  get load(): number {
    return this.#running + this.#fresh.length + this.#repeated.length + this.#pausing;
  }
  /** Of it what has failed before. */
  get failing(): number {
    return this.#repeatedRunning + this.#repeated.length + this.#pausing;
  }

  run<Result>(work: Work<Result>): void {
    this.#fresh.push({ work: work as Work<unknown>, pauseMs: 0 });
    this.#next();
  }

  #next(): void {
    while (this.#running < this.#atOnce && !this.#repeater.signal.aborted) {
      const task = this.#take();
      if (task === undefined) return;
      void this.#attempt(task);
    }
  }

  /** In turn, so that neither waits for the other to run dry. */
  #take(): Task | undefined {
    const mayRepeat = this.#repeated.length > 0 && this.#repeatedRunning < this.#repeatedAtOnce;
    if (mayRepeat && (this.#repeatedIsNext || this.#fresh.length === 0)) {
      this.#repeatedIsNext = false;
      return this.#repeated.shift();
    }
    this.#repeatedIsNext = true;
    return this.#fresh.shift();
  }

  async #attempt(task: Task): Promise<void> {
    const { work } = task;
    const repeated = task.pauseMs > 0 ? 1 : 0;
    this.#running++;
    this.#repeatedRunning += repeated;
    let outcome: { readonly result: unknown } | undefined;
    let failure: FsError | undefined;
    try {
      outcome = { result: await work.act() };
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      failure = error;
    } finally {
      this.#running--;
      this.#repeatedRunning -= repeated;
    }
    // What comes after the stop must not reach the log any more; a restart does it again.
    if (this.#repeater.signal.aborted) return;
    if (outcome !== undefined) {
      work.done(outcome.result);
    } else {
      this.#pause(task, failure);
      work.failed?.();
    }
    this.#next();
  }

  #pause(task: Task, error: FsError | undefined): void {
    const { clock, log } = this.#repeater;
    task.pauseMs = task.pauseMs === 0 ? firstPauseMs : Math.min(longestPauseMs, task.pauseMs * 2);
    log.warning(task.work.event, { inode: task.work.inode, error, againMs: task.pauseMs });
    this.#pausing++;
    const resume = (): void => {
      this.#pausing--;
      this.#repeated.push(task);
      this.#next();
    };
    clock.timer(task.pauseMs, resume, { background: true });
  }
}
