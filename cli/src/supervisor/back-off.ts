// How long to wait before a process that ended is started again (P28: 0.2 s ... 30 s). Pure.

const firstMs = 200;
const longestMs = 30_000;
/**
 * A process that ran this long is taken for healthy: its next restart is quick again. What refuses to start or fails
 * at once ends within a second; one that is killed again and again has served in between, and whoever waits for it
 * must not wait longer each time. A start costs half a second of CPU, so even such a loop leaves the host free.
 */
const healthyMs = 2_000;

export interface BackOff {
  /** Restarts in a row that did not last. */
  readonly failures: number;
}

export const fresh: BackOff = { failures: 0 };

/** The wait before the next start of a process that ran for `ranMs`, and the state after it. */
export function afterExit(state: BackOff, ranMs: number): { state: BackOff; waitMs: number } {
  const failures = ranMs >= healthyMs ? 0 : state.failures;
  const waitMs = Math.min(longestMs, firstMs * 2 ** failures);
  return { state: { failures: failures + 1 }, waitMs };
}
