// Time as a thing that is handed in, so that decisions can be tested and simulated. Leases are counted on the
// boot clock (P29), which stands still at no time; the real clock gets it from a function of `native`. Only
// this file names setTimeout and Date.now.
import { readFileSync } from 'node:fs';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds of the boot clock (CLOCK_BOOTTIME), with a fraction. Never goes back. */
  nowMs(): number;
  /** Nanoseconds since 1970, for time stamps that people see. May go back. */
  wallNs(): bigint;
  /**
   * Calls `act` once, `afterMs` from now. A timer of a real clock does not keep the process alive if
   * `background`.
   */
  timer(afterMs: number, act: () => void, options?: { background?: boolean }): Timer;
}

/** The boot clock without native code, at the 10 ms steps of /proc/uptime: for tools that hold no lease. */
export function bootMsFromProc(): number {
  return Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000;
}

export function realClock(bootMs: () => number): Clock {
  return {
    nowMs: bootMs,
    wallNs: wallClock(Date.now, () => performance.now()),
    timer(afterMs, act, options) {
      const handle = setTimeout(act, afterMs);
      if (options?.background === true) handle.unref();
      return { cancel: () => clearTimeout(handle) };
    },
  };
}

/**
 * `Date.now()` in steps of microseconds instead of milliseconds: a finer counter that starts anywhere says how far into
 * the millisecond it is. It never leaves the millisecond that the system's clock shows, so it follows when that is set.
 */
export function wallClock(dateMs: () => number, fineMs: () => number): () => bigint {
  let offsetMs = dateMs() - fineMs();
  return () => {
    const date = dateMs();
    const fine = fineMs();
    const now = Math.min(Math.max(fine + offsetMs, date), date + lastMicrosecondMs);
    offsetMs = now - fine;
    return BigInt(Math.floor(now * 1_000)) * 1_000n;
  };
}

/** The last step of a millisecond. */
const lastMicrosecondMs = 0.999;

/** Resolves after `afterMs`; rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, afterMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const abort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.timer(afterMs, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** A clock that moves only when told: for tests and simulation. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #wallStartNs: bigint;
  #timers: { atMs: number; order: number; act: () => void }[] = [];
  #order = 0;

  constructor(options: { startMs?: number; wallStartNs?: bigint } = {}) {
    this.#nowMs = options.startMs ?? 0;
    this.#wallStartNs = options.wallStartNs ?? 1_700_000_000_000_000_000n;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallNs(): bigint {
    return this.#wallStartNs + BigInt(Math.round(this.#nowMs * 1e6));
  }

  timer(afterMs: number, act: () => void): Timer {
    const entry = { atMs: this.#nowMs + Math.max(0, afterMs), order: this.#order++, act };
    this.#timers.push(entry);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== entry);
      },
    };
  }

  /** Moves time on and runs, in their order, the timers that fall due, each at its own time. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= endMs);
      if (due.length === 0) break;
      const next = due.reduce((first, timer) =>
        timer.atMs < first.atMs || (timer.atMs === first.atMs && timer.order < first.order) ? timer : first,
      );
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = next.atMs;
      next.act();
    }
    this.#nowMs = endMs;
  }
}
