import { expect, test } from 'vitest';
import { timedOfBench } from './load.ts';

test.each([
  [{ p50: 1, p95: 1, p99: 1, p999: 1, max: 2_000_000 }, 0],
  [{ p50: 1, p95: 1, p99: 1, p999: 2_000_000, max: 2_000_001 }, 2],
  [{ p50: 1, p95: 1, p99: 2_000_000, p999: 2_000_001, max: 9_000_000 }, 11],
  [{ p50: 1, p95: 1, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 51],
  [{ p50: 1, p95: 3_000_000, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 501],
  [{ p50: 3_000_000, p95: 3_000_000, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 1_001],
])('of what a bench says, no long operation is left out: %j', (latencyUs, overTwoSeconds) => {
  const timed = timedOfBench({ errors: 0, operations: 1_001, latencyUs });
  expect(timed).toMatchObject({ operations: 1_001, overTwoSeconds, longestMs: latencyUs.max / 1_000 });
});
