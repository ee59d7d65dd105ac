import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootMsFromProc, FsError, realClock } from '@catena/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Database, type EngineConnection } from '../engine/database.ts';
import type { Relation, StoredSlice } from '../plan/relation.ts';
import { execute, InputLost } from './execute.ts';
import type { RunOrder } from './protocol.ts';

let folder: string;
let database: Database;
let connection: EngineConnection;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'catena-execute-'));
  database = await Database.open({ threads: 1, memoryBytes: 256 << 20, spillDirectory: folder });
});
afterAll(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

function order(relation: Relation, name: string): RunOrder {
  return {
    kind: 'run',
    epoch: 1,
    task: name,
    attempt: 1,
    file: join(folder, `${name}.parquet`),
    threads: 1,
    memoryBytes: 256 << 20,
    expectedRows: undefined,
    work: { kind: 'store', relation, limit: undefined, target: 'scratch' },
  };
}

const clock = realClock(bootMsFromProc);
const ten: Relation = { kind: 'sql', query: 'SELECT range AS n FROM range(10)', inputs: [] };

/** What a task wrote, as another one reads it. */
async function storedOutput(name: string): Promise<Relation & { slices: readonly StoredSlice[] }> {
  const { file, bytes, columns } = await execute(connection, order(ten, name), clock);
  const slice = { path: file, bytes, begin: 0, end: 10, whole: true, task: name };
  return { kind: 'stored', slices: [slice], columns, partition: undefined };
}

test('whenever an input goes, before the task looks at it or while it reads, the task that wrote it is named', async () => {
  connection = await database.connect();
  const kept = await storedOutput('kept');
  expect((await execute(connection, order(kept, 'reader'), clock)).rows).toBe(10);
  const real = connection.run.bind(connection);
  for (const when of ['before', 'while']) {
    const lost = await storedOutput(`lost-${when}`);
    const both: Relation = { kind: 'union', inputs: [kept, lost] };
    const remove = (): void => rmSync(lost.slices[0]?.path ?? '');
    if (when === 'before') remove();
    else {
      // The first statement of an attempt comes after its first look at the inputs.
      connection.run = async (sql, doing) => {
        remove();
        connection.run = real;
        await real(sql, doing);
      };
    }
    const error = await execute(connection, order(both, 'reader'), clock).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputLost);
    expect((error as InputLost).tasks).toEqual([`lost-${when}`]);
  }
  connection.close();
});

test('an error of the query itself stays what it is', async () => {
  connection = await database.connect();
  const kept = await storedOutput('kept');
  const wrong: Relation = { kind: 'sql', query: 'SELECT nothing FROM {0}', inputs: [kept] };
  const error = await execute(connection, order(wrong, 'reader'), clock).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FsError);
  expect(error).not.toBeInstanceOf(InputLost);
  connection.close();
});
