import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createCluster } from '../cluster/description.ts';
import { rotateLogs } from './logs.ts';

function clusterIn(directory: string) {
  return createCluster({
    directory,
    mountpoint: undefined,
    basePort: 7400,
    nodes: 3,
    replicas: 3,
    targetsPerDisk: 1,
  });
}

test('a log that its process holds open is set aside when it is full, and goes on from its beginning', () => {
  const cluster = clusterIn(mkdtempSync(join(tmpdir(), 'catena-logs-')));
  const folder = join(cluster.directory, 'logs');
  // As a process has it: opened once, for good.
  const full = openSync(join(folder, 'supervisor.log'), 'a');
  const small = openSync(join(folder, 'meta.log'), 'a');
  const line = (round: number): string => `line ${round}\n`.padEnd(100, '.');
  for (let round = 0; round < 15; round++) writeSync(full, line(round));
  writeSync(small, line(0));
  rotateLogs(cluster, 1_000);
  expect(readdirSync(folder).sort()).toEqual(['meta.log', 'supervisor.log', 'supervisor.log.1']);
  const old = readFileSync(join(folder, 'supervisor.log.1'), 'utf8');
  expect(old).toBe(Array.from({ length: 15 }, (_, round) => line(round)).join(''));

  writeSync(full, line(15));
  expect(readFileSync(join(folder, 'supervisor.log'), 'utf8')).toBe(line(15));
  // Whatever is written, two files of about the size are all that stays.
  for (let round = 16; round < 200; round++) {
    writeSync(full, line(round));
    rotateLogs(cluster, 1_000);
    expect(statSync(join(folder, 'supervisor.log')).size).toBeLessThanOrEqual(1_000);
  }
  expect(readdirSync(folder).sort()).toEqual(['meta.log', 'supervisor.log', 'supervisor.log.1']);
  expect(statSync(join(folder, 'supervisor.log.1')).size).toBe(1_100);
  expect(readFileSync(join(folder, 'meta.log'), 'utf8')).toBe(line(0));
  closeSync(full);
  closeSync(small);
  rmSync(cluster.directory, { recursive: true });
});

test('without room for the old lines a full log is emptied all the same', () => {
  const cluster = clusterIn(mkdtempSync(join(tmpdir(), 'catena-logs-')));
  const path = join(cluster.directory, 'logs/manager.log');
  const log = openSync(path, 'a');
  writeSync(log, 'x'.repeat(2_000));
  mkdirSync(`${path}.1`); // nothing can be renamed over a directory
  rotateLogs(cluster, 1_000);
  expect(statSync(path).size).toBe(0);
  expect(readdirSync(join(cluster.directory, 'logs')).sort()).toEqual(['manager.log', 'manager.log.1']);
  closeSync(log);
  rmSync(cluster.directory, { recursive: true });
});
