// Intermediate files that are made again with their rows in another order, or with other rows: the result must be
// made of one attempt of each task.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { connect, type DataFrame, type Session } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

const keys = 100_000;
let scratch: Scratch;
let events: string;
beforeAll(async () => {
  scratch = await makeScratch();
  events = await scratch.parquet(
    'events.parquet',
    // 7919 is a prime: every key, in no order.
    `SELECT i * 7919 % ${keys} AS key, i AS number FROM range(${5 * keys}) t(i)`,
    20_000,
  );
});
afterAll(() => scratch.remove());

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 30_000; tries++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect.fail(`never came: ${what}`);
}

/** Slow enough, row by row, that a kill lands in the middle. */
const slow = `SELECT * FROM {0}
  WHERE list_sum(list_transform(range(200), lambda x: hash(x + key) % 7)) >= 0`;
/** The rows of a group-by come in another order each time: several threads make them. */
const grouped = (session: Session): DataFrame =>
  session.readParquet(events).partialSql('SELECT key, count(*) AS n FROM {0} GROUP BY key');

/** Waits until the divided file and its first consumer are committed, and removes the file. */
async function loseFirstFile(job: string): Promise<void> {
  const log = join(job, 'job.log');
  const results = (): number => readFileSync(log, 'utf8').split('"kind":"result"').length - 1;
  await until('two results', () => existsSync(log) && results() === 2);
  const run = join(job, 'run-1');
  const files = readdirSync(run).filter((name) => name.startsWith('task-0.'));
  expect(files).toHaveLength(1);
  rmSync(join(run, files[0]!));
}

async function expectEachOnce(
  frame: Promise<readonly { readonly [column: string]: unknown }[]>,
): Promise<void> {
  const rows = await frame;
  expect({ rows: rows.length, keys: new Set(rows.map((row) => String(row.key))).size }).toEqual({
    rows: keys,
    keys,
  });
}

describe('a file that was divided and is made again', () => {
  const divisions: [string, (frame: DataFrame) => DataFrame][] = [
    ['rows', (frame) => frame.repartition(2, { byRows: true })],
    ['files', (frame) => frame.repartition(2)],
    // No content decides where a row goes here.
    ['a random number', (frame) => frame.repartition(2, { by: '(random() * 2)::INTEGER % 2' })],
  ];
  test.each(divisions)('by %s has each row in one partition', async (name, divide) => {
    const jobs = scratch.path(`jobs-${name.replaceAll(' ', '-')}`);
    const session = await connect({ slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30 });
    try {
      const running = divide(grouped(session)).partialSql(slow).takeAll();
      await loseFirstFile(join(jobs, session.jobId));
      const [worker] = await session.workers();
      process.kill(worker!.pid, 'SIGKILL');
      await expectEachOnce(running);
    } finally {
      await session.close();
    }
  });

  test('has each row in one partition when another driver makes it again', async () => {
    const jobs = scratch.path('jobs-two');
    const options = { slots: 1, scratchDirectory: jobs, memoryBytes: 1 << 30, jobId: 'shared' };
    const old = await connect(options);
    const young = await connect(options);
    const frame = (session: Session): DataFrame =>
      grouped(session).repartition(2, { byRows: true }).partialSql(slow);
    try {
      const refused = expect(frame(old).takeAll()).rejects.toMatchObject({ code: 'FENCED' });
      await loseFirstFile(join(jobs, 'shared'));
      await expectEachOnce(frame(young).takeAll());
      await refused;
    } finally {
      await young.close();
      await old.close();
    }
  });
});
