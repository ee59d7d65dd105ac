// Work on chunks that must succeed some day: repeated for ever with growing pauses, because storage servers
// come back. Bounded by its callers, who start only so many at once.
import { type Clock, FsError, type Logger, sleep } from '@catena/core';

const firstPauseMs = 100;
const longestPauseMs = 5_000;

export interface Repeater {
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts when the service stops. */
  readonly signal: AbortSignal;
}

/** Undefined if the service stopped first. */
export async function untilDone<Result>(
  repeater: Repeater,
  event: string,
  inode: bigint,
  act: () => Promise<Result>,
): Promise<{ result: Result } | undefined> {
  let pauseMs = firstPauseMs;
  while (!repeater.signal.aborted) {
    try {
      const result = await act();
      // What comes after the stop must not reach the log any more; a restart does it again.
      return repeater.signal.aborted ? undefined : { result };
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      repeater.log.warning(event, { inode, error, againMs: pauseMs });
    }
    try {
      await sleep(repeater.clock, pauseMs, repeater.signal);
    } catch {
      return undefined;
    }
    pauseMs = Math.min(longestPauseMs, pauseMs * 2);
  }
  return undefined;
}

/** Runs at most `atOnce` tasks; the others wait in their order. */
export class Lanes {
  readonly #atOnce: number;
  #running = 0;
  readonly #queue: (() => Promise<void>)[] = [];

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  get load(): number {
    return this.#running + this.#queue.length;
  }

  run(task: () => Promise<void>): void {
    this.#queue.push(task);
    this.#next();
  }

  #next(): void {
    while (this.#running < this.#atOnce) {
      const task = this.#queue.shift();
      if (task === undefined) return;
      this.#running++;
      void task().finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }
}
