// Two drivers of one job write one result: whatever the older one still does, it publishes nothing, takes nothing of
// the younger one's, and nothing hidden stays.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { realRandom } from '@catena/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineConnection } from '../engine/database.ts';
import type { TaskResult } from '../plan/task.ts';
import { JobLog } from '../schedule/job-log.ts';
import { DirectoryTransfer } from '../sources/directory-transfer.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';
import { ParquetSink } from './parquet.ts';

let scratch: Scratch;
let connection: EngineConnection;
beforeAll(async () => {
  scratch = await makeScratch();
  connection = await scratch.database.connect();
});
afterAll(() => {
  connection.close();
  scratch.remove();
});

/** What a worker leaves in a staging directory. */
async function attempt(staging: string, name: string, rows: number): Promise<TaskResult> {
  const file = join(staging, `${name}.parquet`);
  await connection.run(
    `COPY (SELECT range AS i FROM range(${rows})) TO '${file}' (FORMAT parquet)`,
    'a test',
  );
  return { rows, bytes: statSync(file).size, file, columns: [], partRows: [], seconds: 0 };
}

describe.each(['a path', 'a FileTransfer'])('a result at %s', (kind) => {
  const transfer = (): DirectoryTransfer | undefined =>
    kind === 'a path' ? undefined : new DirectoryTransfer(scratch.directory);
  let number = 0;
  /** A destination with a result of 1 row already there, and two drivers' way to it. */
  async function makeDestination() {
    number++;
    const name = `${kind.length}-${number}`;
    mkdirSync(scratch.path(`${name}/jobs`), { recursive: true });
    const log = scratch.path(`${name}/jobs/job.log`);
    const local = scratch.path(`${name}/out`);
    const path = kind === 'a path' ? local : `/${name}/out`;
    const openLog = (): JobLog => JobLog.open(log, realRandom);
    const old = scratch.path(`${name}/.out.old-daily-1`);
    const open = (
      driver: JobLog,
      check = (): void => driver.check(),
      overwrite = true,
    ): Promise<ParquetSink> => {
      const writer = { name: 'daily-1', epoch: driver.epoch, check };
      return ParquetSink.open(path, writer, dirname(log), { overwrite }, transfer());
    };
    mkdirSync(local);
    writeFileSync(join(local, 'before'), 'there before');
    const hidden = (): string[] =>
      [...readdirSync(dirname(local)), ...readdirSync(dirname(log))].filter((entry) =>
        entry.includes('.out.'),
      );
    const isAsBefore = (): boolean => readdirSync(local).join() === 'before';
    const rowsThere = async (): Promise<number> => {
      expect(readdirSync(local)).toContain('.manifest.json');
      return await connection.count(`SELECT count(*) FROM '${local}/*.parquet'`, 'a test');
    };
    return { openLog, open, hidden, isAsBefore, rowsThere, local, old };
  }

  test('is not published by a driver that was taken over, and its successor goes on from what was staged', async () => {
    const { openLog, open, hidden, isAsBefore, rowsThere } = await makeDestination();
    const old = openLog();
    const first = await open(old);
    const result = await attempt(first.staging, 'task-0.epoch-1.attempt-1', 5);
    const young = openLog();
    const second = await open(young);
    expect(second.staging).not.toBe(first.staging);
    const moved = { ...result, file: join(second.staging, 'task-0.epoch-1.attempt-1.parquet') };
    expect(readFileSync(moved.file)).toHaveLength(result.bytes);
    const running = await attempt(second.staging, 'task-1.epoch-2.attempt-1', 7);
    // An attempt of the older driver that had begun: its worker makes the directory.
    mkdirSync(first.staging);
    await attempt(first.staging, 'task-1.epoch-1.attempt-1', 9);
    await expect(first.commit(connection, [result])).rejects.toMatchObject({ code: 'FENCED' });
    await first.abandon();
    expect(isAsBefore()).toBe(true);
    expect(existsSync(moved.file) && existsSync(running.file)).toBe(true);
    expect((await second.commit(connection, [moved, running])).rows).toBe(12);
    expect(await rowsThere()).toBe(12);
    expect(hidden()).toEqual([]);
  });

  test('is whole, and the old or the new one, wherever on its way a driver is taken over', async () => {
    let refused = 0;
    for (let turn = 1; ; turn++) {
      const { openLog, open, hidden, isAsBefore, rowsThere } = await makeDestination();
      const old = openLog();
      let armed = false;
      let checks = 0;
      const first = await open(old, () => {
        if (armed && ++checks === turn) openLog();
        old.check();
      });
      armed = true;
      const result = await attempt(first.staging, 'task-0.epoch-1.attempt-1', 5);
      const outcome = await first.commit(connection, [result]).then(
        () => 'published',
        (error: { code: string }) => error.code,
      );
      if (outcome === 'published') {
        expect(await rowsThere()).toBe(5);
        expect(checks).toBe(turn - 1);
        break;
      }
      refused++;
      expect(outcome).toBe('FENCED');
      expect(isAsBefore()).toBe(true);
      const second = await open(openLog());
      await second.commit(connection, [await attempt(second.staging, 'task-0.epoch-3.attempt-1', 3)]);
      expect(await rowsThere()).toBe(3);
      expect(hidden()).toEqual([]);
    }
    // Before the files get their names, before the old result goes, and before the new one comes.
    expect(refused).toBe(3);
  });

  test('is replaced also after a driver was killed while it removed the one before', async () => {
    const { openLog, open, hidden, isAsBefore, rowsThere, old } = await makeDestination();
    mkdirSync(old);
    writeFileSync(join(old, 'part-00000.parquet'), 'half of it is gone');
    const sink = await open(openLog());
    expect(isAsBefore()).toBe(true);
    await sink.commit(connection, [await attempt(sink.staging, 'task-0.epoch-1.attempt-1', 3)]);
    expect(await rowsThere()).toBe(3);
    expect(hidden()).toEqual([]);
  });

  test('is back after a driver was killed before the new one was in its place', async () => {
    const { openLog, open, hidden, isAsBefore, rowsThere, local, old } = await makeDestination();
    renameSync(local, old);
    const driver = openLog();
    await expect(open(driver, undefined, false)).rejects.toMatchObject({ code: 'EXISTS' });
    expect(isAsBefore()).toBe(true);
    renameSync(local, old);
    // A run that fails keeps it.
    await (await open(driver)).abandon();
    expect(isAsBefore()).toBe(true);
    expect(hidden()).toEqual([]);
    renameSync(local, old);
    const sink = await open(driver);
    await sink.commit(connection, [await attempt(sink.staging, 'task-0.epoch-1.attempt-1', 3)]);
    expect(await rowsThere()).toBe(3);
    expect(hidden()).toEqual([]);
  });

  test('is left by what a killed driver and its late workers staged under this name', async () => {
    const { openLog, open, hidden, rowsThere } = await makeDestination();
    const sinks = [await open(openLog()), await open(openLog())];
    for (const [index, { staging }] of sinks.entries()) {
      mkdirSync(staging, { recursive: true });
      await attempt(staging, `late-${index}`, 2);
    }
    const third = await open(openLog());
    for (const { staging } of sinks) mkdirSync(join(staging, 'again'), { recursive: true });
    const fourth = await open(openLog());
    expect(existsSync(third.staging)).toBe(false);
    await fourth.commit(connection, [await attempt(fourth.staging, 'task-0.epoch-4.attempt-1', 4)]);
    expect(await rowsThere()).toBe(4);
    expect(hidden()).toEqual([]);
  });
});

test('a driver that is taken over between its last look and the rename puts the old result back', async () => {
  const path = scratch.path('last');
  mkdirSync(path);
  writeFileSync(join(path, 'before'), 'there before');
  const log = scratch.path('last.log');
  const old = JobLog.open(log, realRandom);
  let staging = '';
  let checks = 0;
  const check = (): void => {
    old.check();
    if (staging === '' || ++checks < 3) return;
    JobLog.open(log, realRandom);
    renameSync(staging, `${staging.slice(0, -1)}2`);
    staging = '';
  };
  const sink = await ParquetSink.open(
    path,
    { name: 'daily-1', epoch: 1, check },
    path,
    { overwrite: true },
    undefined,
  );
  staging = sink.staging;
  const result = await attempt(sink.staging, 'task-0.epoch-1.attempt-1', 5);
  await expect(sink.commit(connection, [result])).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(checks).toBe(3);
  expect(readdirSync(path)).toEqual(['before']);
  expect(readdirSync(dirname(path)).filter((name) => name.startsWith('.last.'))).toEqual([
    '.last.staging-daily-1-epoch-2',
  ]);
});
