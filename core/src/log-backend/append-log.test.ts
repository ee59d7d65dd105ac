import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ManualClock } from '../clock.ts';
import { appendLogSuite, bodiesOf, recordsOf } from './append-log.suite.ts';
import type { AppendLog } from './append-log.ts';
import { openLocalLog } from './local.ts';
import { MemoryLogMedium, openMemoryLog } from './memory.ts';

// In memory where there is such a place: these tests are about bytes, and sync to the medium thousands of
// times.
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'catena-log-'));
afterAll(() => rmSync(root, { recursive: true }));
let directories = 0;
const newDirectory = (): string => join(root, `log-${directories++}`);
const clock = new ManualClock();

describe('in memory', () => {
  appendLogSuite(() => {
    const medium = new MemoryLogMedium();
    return { open: (floor) => openMemoryLog(medium, floor), abandon: () => {} };
  });

  test('the loss of power takes what was not flushed', async () => {
    const medium = new MemoryLogMedium();
    const log = openMemoryLog(medium);
    await log.append([Buffer.from('a')]);
    await log.flush();
    await log.append([Buffer.from('b')]);
    medium.losePower();
    expect(await bodiesOf(openMemoryLog(medium))).toEqual(['a']);
  });
});

describe('in local files', () => {
  appendLogSuite(() => {
    const directory = newDirectory();
    // Small segments, so that every test crosses their borders. An abandoned log keeps its descriptor until
    // the test ends.
    return {
      open: (floor) => openLocalLog({ directory, clock, segmentBytes: 200, ...(floor && { floor }) }),
      abandon: () => {},
    };
  });
});

const files = (directory: string): string[] => readdirSync(directory).sort();
const reopen = (directory: string): AppendLog => openLocalLog({ directory, clock });

async function threeOpenings(): Promise<{ directory: string; bodies: string[] }> {
  const directory = newDirectory();
  const bodies: string[] = [];
  for (const part of ['a', 'b', 'c']) {
    const log = openLocalLog({ directory, clock });
    const more = [`${part} first`, `${part} second`, `${part} third`];
    await log.append(more.slice(0, 2).map((text) => Buffer.from(text)));
    await log.append(more.slice(2).map((text) => Buffer.from(text)));
    bodies.push(...more);
    await log.close();
  }
  return { directory, bodies };
}

test('cut anywhere, the log keeps exactly the whole records before the cut', async () => {
  const { directory, bodies } = await threeOpenings();
  const names = files(directory);
  expect(names).toHaveLength(3);
  for (const [index, name] of names.entries()) {
    const size = statSync(join(directory, name)).size;
    for (let length = 0; length < size; length++) {
      const copy = newDirectory();
      cpSync(directory, copy, { recursive: true });
      truncateSync(join(copy, name), length);
      const log = reopen(copy);
      // Each file: a header of 40 bytes, then three records.
      const whole = [1, 2, 3].filter((count) => length >= 40 + endOf(count, bodies.slice(index * 3))).length;
      expect(await bodiesOf(log), `${name} cut at ${length}`).toEqual(bodies.slice(0, index * 3 + whole));
      const number = await log.append([Buffer.from('after')]);
      expect(number).toBe(BigInt(index * 3 + whole + 1));
      expect(log.epoch).toBe(4n);
      await log.close();
      const again = reopen(copy);
      expect((await bodiesOf(again)).at(-1)).toBe('after');
      expect(again.epoch).toBe(5n);
      await again.close();
    }
  }
});

function endOf(count: number, bodies: readonly string[]): number {
  return bodies.slice(0, count).reduce((sum, body) => sum + 24 + body.length, 0);
}

test('any flipped byte cuts the log there: never a wrong record, never one after it', async () => {
  const { directory, bodies } = await threeOpenings();
  for (const [index, name] of files(directory).entries()) {
    const good = readFileSync(join(directory, name));
    for (let at = 0; at < good.length; at++) {
      const copy = newDirectory();
      cpSync(directory, copy, { recursive: true });
      const bad = Buffer.from(good);
      bad[at]! ^= 0x40;
      writeFileSync(join(copy, name), bad);
      const log = reopen(copy);
      const found = await bodiesOf(log);
      expect(found, `${name} byte ${at}`).toEqual(bodies.slice(0, found.length));
      expect(found.length).toBeGreaterThanOrEqual(index * 3);
      expect(found.length).toBeLessThan(index * 3 + 3);
      await log.close();
      rmSync(copy, { recursive: true });
    }
  }
});

test('a file that is missing in the middle ends the log before it', async () => {
  const { directory, bodies } = await threeOpenings();
  rmSync(join(directory, files(directory)[1]!));
  const log = reopen(directory);
  expect(await bodiesOf(log)).toEqual(bodies.slice(0, 3));
  expect(log.appended).toBe(3n);
  expect(log.epoch).toBe(4n);
  await log.close();
});

test('openings without appends leave no files behind', async () => {
  const { directory } = await threeOpenings();
  for (let round = 0; round < 5; round++) await reopen(directory).close();
  expect(files(directory)).toHaveLength(4);
});

test('records reach the medium within the interval without being asked for', async () => {
  const time = new ManualClock();
  const log = openLocalLog({ directory: newDirectory(), clock: time, flushIntervalMs: 50 });
  await log.append([Buffer.from('a')]);
  time.advance(49);
  expect(log.flushed).toBe(0n);
  time.advance(1);
  await expect.poll(() => log.flushed).toBe(1n);
  await log.append([Buffer.from('b')]);
  time.advance(50);
  await expect.poll(() => log.flushed).toBe(2n);
  await log.close();
});

test('segments end at their size and trimming drops them', async () => {
  const directory = newDirectory();
  const log = openLocalLog({ directory, clock, segmentBytes: 1000 });
  for (let index = 0; index < 100; index++) {
    await log.append([Buffer.alloc(76, index)]); // 100 bytes each
    if (index % 7 === 0) await log.flush();
  }
  expect(files(directory).length).toBeGreaterThanOrEqual(8);
  await log.trim(51n);
  expect(files(directory).length).toBeLessThanOrEqual(7);
  const left = await recordsOf(log);
  expect(left[0]?.number).toBeLessThanOrEqual(51n);
  expect(left.at(-1)?.number).toBe(100n);
  await log.close();
});

test('a directory that cannot be used is refused', () => {
  const file = newDirectory();
  writeFileSync(file, 'x');
  expect(() => reopen(file)).toThrow(/already|exist/i);
});
