import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { seededRandom } from '@catena/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TaskResult } from '../plan/task.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';
import { JobLog } from './job-log.ts';

const result = (rows: number): TaskResult => ({
  rows,
  bytes: 1,
  seconds: 0,
  file: '/f',
  columns: [],
  partRows: [],
});
let scratch: Scratch;
beforeAll(async () => {
  scratch = await makeScratch();
});
afterAll(() => scratch.remove());

let seed = 0;
const open = (path: string): JobLog => JobLog.open(path, seededRandom(++seed));
const commit = (log: JobLog, task: string, rows: number): void =>
  log.append({ kind: 'result', run: 1, task, attempt: 1, result: result(rows) });
const committed = (log: JobLog): Record<string, number> =>
  Object.fromEntries([...(log.recovered.get(1)?.results ?? [])].map(([task, { rows }]) => [task, rows]));

describe('the job log', () => {
  test('gives back what was committed, and each driver a higher epoch', () => {
    const path = scratch.path('committed.log');
    const first = open(path);
    expect(first.epoch).toBe(1);
    first.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 3 });
    commit(first, 'a', 1);
    commit(first, 'b', 2);
    first.append({ kind: 'lost', run: 1, task: 'a' });
    first.close();
    const second = open(path);
    expect(second.epoch).toBe(2);
    expect(committed(second)).toEqual({ b: 2 });
    expect(second.recovered.get(1)).toMatchObject({ fingerprint: 'f', ended: false });
    second.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 3 });
    commit(second, 'a', 3);
    second.append({ kind: 'end', run: 1, error: '' });
    second.close();
    const third = open(path);
    expect(committed(third)).toEqual({ a: 3, b: 2 });
    expect(third.recovered.get(1)?.ended).toBe(true);
    third.close();
  });

  test('refuses a lower epoch, and what it wrote behind the higher one counts for nobody', () => {
    const path = scratch.path('fenced.log');
    const old = open(path);
    old.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 1 });
    commit(old, 'a', 1);
    const young = open(path);
    expect(() => commit(old, 'b', 666)).toThrow(expect.objectContaining({ code: 'FENCED' }));
    expect(() => commit(old, 'a', 666)).toThrow(expect.objectContaining({ code: 'FENCED' }));
    commit(young, 'c', 3);
    expect(committed(open(path))).toEqual({ a: 1, c: 3 });
  });

  test('another plan under the same run number starts from nothing', () => {
    const path = scratch.path('plan.log');
    const log = open(path);
    log.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 1 });
    commit(log, 'a', 1);
    log.append({ kind: 'run', run: 1, fingerprint: 'g', tasks: 1 });
    expect(committed(open(path))).toEqual({});
  });

  test('reads over a line that a dying driver cut at any byte', () => {
    const path = scratch.path('torn.log');
    const log = open(path);
    log.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 2 });
    commit(log, 'a', 1);
    const whole = readFileSync(path).length;
    commit(log, 'b', 2);
    const bytes = readFileSync(path);
    for (let length = whole + 1; length < bytes.length; length += 7) {
      const cut = scratch.path(`torn-${length}.log`);
      writeFileSync(cut, bytes);
      truncateSync(cut, length);
      const next = open(cut);
      expect(committed(next)).toEqual({ a: 1 });
      commit(next, 'c', 3);
      expect(committed(open(cut))).toEqual({ a: 1, c: 3 });
    }
  });

  test('a line whose checksum is wrong is no record', () => {
    const path = scratch.path('flipped.log');
    const log = open(path);
    log.append({ kind: 'run', run: 1, fingerprint: 'f', tasks: 1 });
    appendFileSync(
      path,
      `00000000 ${JSON.stringify({ epoch: 9, record: { kind: 'open', nonce: '', pid: 1 } })}\n`,
    );
    commit(log, 'a', 1);
    expect(committed(open(path))).toEqual({ a: 1 });
  });
});
