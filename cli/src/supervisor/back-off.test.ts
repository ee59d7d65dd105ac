import { expect, test } from 'vitest';
import { afterExit, fresh } from './back-off.ts';

test('waits double up to 30 s, and start again after a healthy run', () => {
  let state = fresh;
  const waits: number[] = [];
  for (let round = 0; round < 10; round++) {
    const next = afterExit(state, 50);
    waits.push(next.waitMs);
    state = next.state;
  }
  expect(waits).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
  expect(afterExit(state, 1_999).waitMs).toBe(30_000);
  expect(afterExit(state, 2_000).waitMs).toBe(200);
});
