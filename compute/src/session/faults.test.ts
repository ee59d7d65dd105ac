// What must not change a result: workers and drivers that die, hang, or lose their files.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { asText, connect, type DataFrame, plainDuckDb, type Row, type Session } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let scratch: Scratch;
let events: string;
let expected: string[];

const group = (from: string): string =>
  `SELECT key, count(*) AS n, sum(number) AS total FROM ${from} GROUP BY key`;
/** Slow enough, row by row, that a kill lands in the middle. */
const slow = 'SELECT key, number FROM {0} WHERE md5(md5(md5(number::VARCHAR || filler))) IS NOT NULL';
const sorted = (rows: readonly (readonly (string | null)[])[]): string[] =>
  rows.map((row) => JSON.stringify(row)).sort();
const ours = (rows: readonly Row[]): string[] => sorted(asText(rows));
const job = (session: Session): DataFrame =>
  session
    .readParquet(events)
    .repartition(6, { byRows: true })
    .partialSql(slow)
    .repartition(4, { hashBy: 'key' })
    .partialSql(group('{0}'));

const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 20_000; tries++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect.fail(`never came: ${what}`);
}
/** Files that attempts of this job are writing or have written. */
function attempts(jobs: string, jobId: string): string[] {
  const run = join(jobs, jobId, 'run-1');
  return existsSync(run) ? readdirSync(run).filter((name) => name.includes('attempt')) : [];
}

beforeAll(async () => {
  scratch = await makeScratch();
  events = await scratch.parquet(
    'events.parquet',
    "SELECT i % 97 AS key, i AS number, repeat('x', 300) AS filler FROM range(300000) t(i)",
    20_000,
  );
  expected = sorted((await plainDuckDb(group(`'${events}'`))).rows);
});
afterAll(() => scratch.remove());

describe('a worker', () => {
  test('that is killed in mid-job changes nothing', async () => {
    const jobs = scratch.path('jobs-kill');
    const session = await connect({ slots: 2, scratchDirectory: jobs, memoryBytes: 1 << 30 });
    try {
      const frame = job(session);
      const running = frame.takeAll();
      await until('an attempt', () => attempts(jobs, session.jobId).length > 0);
      const victims = await session.workers();
      expect(victims).toHaveLength(2);
      process.kill(victims[0]!.pid, 'SIGKILL');
      expect(ours(await running)).toEqual(expected);
      expect(await frame.explain()).toContain('attempt 2');
      await until('a new worker', () => !isAlive(victims[0]!.pid));
      expect(ours(await frame.takeAll())).toEqual(expected);
      expect((await session.workers()).map((worker) => worker.pid)).not.toContain(victims[0]!.pid);
    } finally {
      await session.close();
    }
    expect(readdirSync(jobs)).toEqual([]);
  });

  test('that hangs is found by its heartbeat, killed and replaced', async () => {
    const jobs = scratch.path('jobs-hang');
    const session = await connect({ slots: 2, scratchDirectory: jobs, memoryBytes: 1 << 30 });
    try {
      const running = job(session).takeAll();
      await until('an attempt', () => attempts(jobs, session.jobId).length > 0);
      const [victim] = await session.workers();
      process.kill(victim!.pid, 'SIGSTOP');
      expect(ours(await running)).toEqual(expected);
      await until('the end of the hung worker', () => !isAlive(victim!.pid));
    } finally {
      await session.close();
    }
  });

  test('whose every attempt dies ends the job with the reason, and no more', async () => {
    const jobs = scratch.path('jobs-poison');
    const session = await connect({ slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30 });
    const killer = setInterval(() => {
      void session.workers().then((workers) => {
        for (const { pid } of attempts(jobs, session.jobId).length > 0 ? workers : [])
          process.kill(pid, 'SIGKILL');
      });
    }, 20);
    try {
      await expect(job(session).takeAll()).rejects.toMatchObject({ code: 'WORKER_LOST' });
    } finally {
      clearInterval(killer);
      await session.close();
    }
  });
});

describe('an intermediate file', () => {
  test('that disappears is written again', async () => {
    const jobs = scratch.path('jobs-lost');
    const session = await connect({ slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30 });
    try {
      const frame = job(session);
      const running = frame.takeAll();
      // With one slot, the second attempt file begins after the first is committed.
      await until('a second task', () => attempts(jobs, session.jobId).length > 1);
      const first = attempts(jobs, session.jobId).find((name) => name.startsWith('task-0.'));
      rmSync(join(jobs, session.jobId, 'run-1', first!));
      expect(ours(await running)).toEqual(expected);
      expect(await frame.explain()).toMatch(/task-0 .*attempt 2/);
    } finally {
      await session.close();
    }
  });
});

describe('a driver', () => {
  const driver = fileURLToPath(new URL('../testing/killable-driver.ts', import.meta.url));
  const loader = new URL('../testing/strip-types.mjs', import.meta.url).href;
  const start = (jobs: string): { child: ChildProcess; pids: Promise<number[]> } => {
    const child = spawn(
      process.execPath,
      ['--conditions=source', '--import', loader, driver, events, jobs, 'the-job'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const pids = new Promise<number[]>((resolve) => {
      child.stdout!.once('data', (text: Buffer) => resolve(JSON.parse(text.toString()) as number[]));
    });
    return { child, pids };
  };

  test('that is killed leaves no worker, and another one goes on from its finished tasks', async () => {
    const jobs = scratch.path('jobs-driver');
    const { child, pids } = start(jobs);
    const workers = await pids;
    expect(workers.every(isAlive)).toBe(true);
    const log = join(jobs, 'the-job', 'job.log');
    await until(
      'a committed task',
      () => existsSync(log) && readFileSync(log, 'utf8').includes('"kind":"result"'),
    );
    child.kill('SIGKILL');
    await until('the end of the workers', () => !workers.some(isAlive));
    const session = await connect({
      slots: 2,
      scratchDirectory: jobs,
      memoryBytes: 1 << 30,
      jobId: 'the-job',
    });
    try {
      const frame = job(session);
      expect(ours(await frame.takeAll())).toEqual(expected);
      expect(await frame.explain()).toMatch(/\d+ tasks were finished by an earlier driver/);
    } finally {
      await session.close();
    }
    expect(readdirSync(jobs)).toEqual([]);
  });

  test('that lost its job to another one is refused by the log', async () => {
    const jobs = scratch.path('jobs-two');
    const options = { slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30, jobId: 'shared' };
    const old = await connect(options);
    const young = await connect(options);
    try {
      const running = job(old).takeAll();
      const outcome = running.then(
        () => 'done',
        (error: { code?: string }) => error.code,
      );
      await until('an attempt', () => attempts(jobs, 'shared').length > 0);
      expect(await young.readParquet(events).filter('number < 7').count()).toBe(7);
      expect(await outcome).toBe('FENCED');
    } finally {
      await old.close();
      await young.close();
    }
  });
});
