// A job that another driver takes over while its first one lives: the first one leaves everything to the second.
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connect, type DataFrame, type Session } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

const rows = 300_000;
let scratch: Scratch;
let events: string;
beforeAll(async () => {
  scratch = await makeScratch();
  events = await scratch.parquet(
    'events.parquet',
    `SELECT i AS number, repeat('x', 300) AS filler FROM range(${rows}) t(i)`,
    20_000,
  );
});
afterAll(() => scratch.remove());

const slow = 'SELECT number FROM {0} WHERE md5(md5(md5(number::VARCHAR || filler))) IS NOT NULL';
const frame = (session: Session): DataFrame =>
  session.readParquet(events).repartition(6, { byRows: true }).partialSql(slow);
const code = (running: Promise<unknown>): Promise<unknown> =>
  running.then(
    () => 'done',
    (error: { code?: string }) => error.code,
  );
async function untilResults(log: string, count: number): Promise<void> {
  for (let tries = 0; tries < 30_000; tries++) {
    if (existsSync(log) && readFileSync(log, 'utf8').split('"kind":"result"').length > count) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect.fail(`never came: ${count} results`);
}

test('a driver that was fenced leaves the scratch and the log of its successor alone', async () => {
  const jobs = scratch.path('jobs');
  const log = join(jobs, 'shared', 'job.log');
  const options = { slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30, jobId: 'shared' };
  const [old, young, idle] = [await connect(options), await connect(options), await connect(options)];
  try {
    const first = code(frame(old).takeAll());
    await untilResults(log, 1);
    const second = frame(young).takeAll();
    expect(await first).toBe('FENCED');
    await old.close();
    // It never ran anything.
    await idle.close();
    expect(existsSync(log)).toBe(true);
    expect(readdirSync(join(jobs, 'shared'))).toContain('run-1');
    expect(await second).toHaveLength(rows);
  } finally {
    await young.close();
  }
  expect(readdirSync(jobs)).toEqual([]);
});

test('a successor goes on from results that were staged, and nothing hidden stays', async () => {
  const jobs = scratch.path('jobs-write');
  const out = scratch.path('results/out');
  const options = { slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30, jobId: 'shared' };
  mkdirSync(scratch.path('results'));
  const [old, young] = [await connect(options), await connect(options)];
  try {
    const first = code(frame(old).writeParquet(out));
    await untilResults(join(jobs, 'shared', 'job.log'), 2);
    const taken = frame(young);
    expect((await taken.writeParquet(out)).rows).toBe(rows);
    expect(await first).toBe('FENCED');
    expect(await taken.explain()).toMatch(/[2-5] tasks were finished by an earlier driver/);
    const there = await young.sql(`SELECT count(DISTINCT number) AS n FROM '${out}/*.parquet'`).takeAll();
    expect(there).toEqual([{ n: BigInt(rows) }]);
  } finally {
    await old.close();
    await young.close();
  }
  expect(readdirSync(scratch.path('results'))).toEqual(['out']);
  expect(readdirSync(jobs)).toEqual([]);
});
