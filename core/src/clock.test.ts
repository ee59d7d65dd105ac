import { expect, test } from 'vitest';
import { bootMsFromProc, ManualClock, realClock, sleep, wallClock } from './clock.ts';
import { realRandom, seededRandom } from './random.ts';

test('a manual clock runs timers in their order, each at its own time', () => {
  const clock = new ManualClock({ startMs: 5 });
  const seen: string[] = [];
  const note = (name: string) => (): void => {
    seen.push(`${name}@${clock.nowMs()}`);
  };
  clock.timer(20, note('late'));
  clock.timer(10, () => {
    note('first')();
    clock.timer(5, note('nested'));
    clock.timer(0, note('now'));
  });
  clock.timer(10, note('second'));
  clock.timer(15, note('never')).cancel();
  clock.advance(9);
  expect(seen).toEqual([]);
  clock.advance(16);
  expect(seen).toEqual(['first@15', 'second@15', 'now@15', 'nested@20', 'late@25']);
  expect(clock.nowMs()).toBe(30);
  const before = clock.wallNs();
  clock.advance(1.5);
  expect(clock.wallNs() - before).toBe(1_500_000n);
});

test('sleep ends in time, or at once when it is aborted', async () => {
  const clock = new ManualClock();
  let ended = false;
  const asleep = sleep(clock, 100).then(() => {
    ended = true;
  });
  clock.advance(99);
  await Promise.resolve();
  expect(ended).toBe(false);
  clock.advance(1);
  await asleep;
  const controller = new AbortController();
  const aborted = sleep(clock, 100, controller.signal);
  controller.abort(new Error('enough'));
  await expect(aborted).rejects.toThrow('enough');
  await expect(sleep(clock, 100, controller.signal)).rejects.toThrow('enough');
});

test('the real clock is the boot clock it was handed, and its timers fire', async () => {
  const clock = realClock(bootMsFromProc);
  const startMs = clock.nowMs();
  await sleep(clock, 30);
  expect(clock.nowMs()).toBeGreaterThan(startMs);
  expect(startMs).toBeGreaterThan(0);
});

test('the same seed gives the same numbers; ids are never the same', () => {
  const draw = (seed: number): number[] => {
    const random = seededRandom(seed);
    return Array.from({ length: 50 }, () => random.fraction());
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(draw(7).every((value) => value >= 0 && value < 1)).toBe(true);
  expect(new Set(draw(7)).size).toBe(50);
  expect(realRandom.bytes(16)).not.toEqual(realRandom.bytes(16));
});

test('the wall clock moves in microseconds, within the millisecond that the system shows', () => {
  let dateMs = 1_700_000_000_000;
  let fineMs = 12.25;
  const wallNs = wallClock(
    () => dateMs,
    () => fineMs,
  );
  const sinceNs = (): bigint => wallNs() - 1_700_000_000_000_000_000n;
  expect(sinceNs()).toBe(0n);
  fineMs += 0.25;
  expect(sinceNs()).toBe(250_000n);
  // The fine counter runs ahead of the date: the millisecond's last step, and no further.
  fineMs += 5;
  expect(sinceNs()).toBe(999_000n);
  dateMs += 1;
  expect(sinceNs()).toBe(1_000_000n);
  fineMs += 0.125;
  expect(sinceNs()).toBe(1_125_000n);
  // Somebody sets the clock, forwards and back: it is followed at once.
  dateMs += 60_000;
  expect(sinceNs()).toBe(60_001_000_000n);
  dateMs -= 90_000;
  expect(sinceNs()).toBe(-29_998_001_000n);
});

test('the real clock tells apart what happens within one millisecond', () => {
  const { wallNs } = realClock(bootMsFromProc);
  const seen = new Set<bigint>();
  const before = BigInt(Date.now()) * 1_000_000n;
  for (let count = 0; count < 10_000 && seen.size < 100; count++) seen.add(wallNs());
  expect(seen.size).toBe(100);
  for (const time of seen) {
    expect(time).toBeGreaterThanOrEqual(before);
    expect(time).toBeLessThan(BigInt(Date.now() + 1) * 1_000_000n);
  }
  expect([...seen].some((time) => time % 1_000_000n !== 0n)).toBe(true);
});
