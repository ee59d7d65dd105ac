// Garbage on any port closes that connection only; a benchmark that verifies finds what it wrote.

import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

/** Sends bytes and resolves when the peer closes the connection; rejects if it does not. */
function sendGarbage(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`port ${port} keeps a connection open that sent garbage`));
    }, 10_000);
    socket.on('data', () => undefined);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

test('garbage on every port closes that connection only', async () => {
  const offsets = [0, 1, 11, 12, 13, 100, 101, 111, 112, 113, 120];
  const pids = cluster.status().processes.map((entry) => entry.pid);
  for (const offset of offsets) {
    const port = cluster.basePort + offset;
    await sendGarbage(port, Buffer.from('GARBAGE\r\n\r\n'.repeat(20)));
    await sendGarbage(port, Buffer.alloc(64, 0xff));
    // A frame's magic and version, then a length of 4 GiB and a wrong checksum.
    await sendGarbage(port, Buffer.from('ca010a00ffffffffffffffff00000000\r\n\r\n', 'hex'));
  }
  writeFileSync(join(cluster.mount, 'after.txt'), 'still here');
  expect(readFileSync(join(cluster.mount, 'after.txt'), 'utf8')).toBe('still here');
  const status = cluster.status();
  expect(status.ready).toBe(true);
  expect(status.processes.map((entry) => entry.pid)).toEqual(pids);
});

test.each([
  ['posix', ['--directory', 'MOUNT']],
  ['client', ['--directory', '/']],
])('the %s engine of the bench writes, verifies and reports', (engine, where) => {
  const place = where.map((word) => word.replace('MOUNT', cluster.mount));
  const job = [
    '--rw',
    'randwrite',
    '--bs',
    '16k',
    '--iodepth',
    '8',
    '--numjobs',
    '2',
    '--size',
    '8m',
    '--verify',
  ];
  const done = catena('bench', '--dir', cluster.directory, '--engine', engine, ...place, ...job, '--json');
  expect(done.status, done.stderr).toBe(0);
  const [found] = JSON.parse(done.stdout) as { report: Record<string, number> }[];
  expect(found?.report).toMatchObject({ errors: 0, bytes: 16 << 20, operations: 1024 });
  expect(found?.report.verifiedBytes).toBeGreaterThan(8 << 20);
});

test('wrong options are refused in one line', () => {
  for (const [option, value] of [
    ['--rw', 'sideways'],
    ['--bs', '7x'],
    ['--iodepth', '0'],
    ['--engine', 'fio'],
  ] as const) {
    const done = catena('bench', '--dir', cluster.directory, option, value);
    expect(done.status, option).not.toBe(0);
    expect(done.stdout, option).toBe('');
    expect(done.stderr.trim().split('\n'), done.stderr).toHaveLength(1);
    expect(done.stderr).toContain(option.slice(2));
    expect(done.stderr).toContain(value);
  }
});
