import { expect, test } from 'vitest';
import { killSchedule } from './schedule.ts';

test('a schedule follows from its seed, and kills everything sooner or later', () => {
  const services = ['a', 'b', 'c'];
  const kills = killSchedule(7, 600_000, services);
  expect(killSchedule(7, 600_000, services)).toEqual(kills);
  expect(killSchedule(8, 600_000, services)).not.toEqual(kills);
  expect(new Set(kills.map((kill) => kill.service))).toEqual(new Set(services));
  const gaps = kills.slice(1).map((kill, index) => kill.atMs - (kills[index]?.atMs ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(2_000);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(5_000);
  expect(kills.length).toBeGreaterThan(120);
});
