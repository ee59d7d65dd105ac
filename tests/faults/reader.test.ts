// A server is killed with -9 while `cat` reads a large file from it: the reader notices nothing but a pause. For the
// head, the middle and the tail of the chain that holds every chunk of the file, which answers that very reader.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeLarge } from '../cluster/content.ts';
import { catena, RunningCluster } from '../cluster/running-cluster.ts';
import { longestMsMax } from './load.ts';

const MiB = 1 << 20;
const fileBytes = 256 * MiB;
let cluster: RunningCluster;
let path: string;
let sha256: string;

beforeAll(() => {
  // One target a server: one chain holds every chunk.
  cluster = RunningCluster.start('--targets-per-disk', '1');
  path = join(cluster.mount, 'large');
  sha256 = writeLarge(path, fileBytes, 77);
});
afterAll(() => cluster.stop());

/** The nodes that hold the file, the head first; the same for each of its chunks. */
function chainOfFile(): number[] {
  const located = catena('fs', 'locate', '/large', '--dir', cluster.directory);
  expect(located.status, located.stderr).toBe(0);
  const places = JSON.parse(located.stdout) as { length: string; nodes: number[] }[];
  const chains = new Set(places.map((place) => place.nodes.join(' ')));
  expect(places.reduce((sum, place) => sum + Number(place.length), 0)).toBe(fileBytes);
  expect(chains.size, 'one chain').toBe(1);
  return places[0]?.nodes ?? [];
}

/** Bytes that a server has answered to readers so far. */
async function readBytesOf(http: string): Promise<number> {
  const metrics = await (await fetch(new URL('/metrics', http))).text();
  const [, value] = /^storage_read_bytes_total (\d+)$/m.exec(metrics) ?? [];
  if (value === undefined) throw new Error(`${http} tells no storage_read_bytes_total: ${metrics}`);
  return Number(value);
}

interface Read {
  readonly code: number | null;
  readonly stderr: string;
  readonly sha256: string;
  readonly longestMs: number;
}

/** Reads it with cat, and calls `midway` once when a part has come: until it returns, cat finds nobody to write to. */
function readWithCat(midway: (left: () => number) => Promise<void>): Promise<Read> {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  const child = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'pipe'] });
  const hash = createHash('sha256');
  let got = 0;
  let stderr = '';
  let longestMs = 0;
  let last = performance.now();
  let isMidway = false;
  let isMidwayOver = Promise.resolve();
  child.stdout.on('data', (piece: Buffer) => {
    longestMs = Math.max(longestMs, performance.now() - last);
    hash.update(piece);
    got += piece.length;
    last = performance.now();
    if (got < 48 * MiB || isMidway) return;
    isMidway = true;
    child.stdout.pause();
    isMidwayOver = midway(() => fileBytes - got).finally(() => child.stdout.resume());
  });
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('close', (code) => {
      const read = { code, stderr, sha256: hash.digest('hex'), longestMs };
      isMidwayOver.then(() => resolve(read), reject);
    });
  });
}

test.each([
  ['head', 0],
  ['middle', 1],
  ['tail', 2],
])('%s killed under cat of a large file: nothing but a pause', async (_position, index) => {
  const chain = chainOfFile();
  expect(chain).toHaveLength(3);
  const name = `storage-${chain[index]}`;
  const processes = cluster.status().processes.filter((entry) => entry.name.startsWith('storage-'));
  const { http = '', pid } = processes.find((entry) => entry.name === name) ?? {};
  const others = processes.filter((entry) => entry.name !== name);
  const readFromOthers = async (): Promise<number> => {
    const bytes = await Promise.all(others.map((entry) => readBytesOf(entry.http)));
    return bytes.reduce((sum, each) => sum + each, 0);
  };
  const readBytes = await readBytesOf(http);
  let [leftAtKill, othersAtKill] = [0, 0];
  const read = await readWithCat(async (left) => {
    // It answers this very reader, which is in the middle of the file.
    expect(await readBytesOf(http)).toBeGreaterThan(readBytes);
    expect(cluster.tryKill(name)).toBe(true);
    [leftAtKill, othersAtKill] = [left(), await readFromOthers()];
  });
  expect(leftAtKill).toBeGreaterThan(fileBytes / 2);
  // What was still to come came from the others, at least until the killed one was back.
  expect((await readFromOthers()) - othersAtKill).toBeGreaterThan(leftAtKill / 2);
  expect(read.stderr).toBe('');
  expect(read.code).toBe(0);
  expect(read.sha256).toBe(sha256);
  console.info(`${name} killed: longest pause ${read.longestMs.toFixed(0)} ms`);
  expect(read.longestMs).toBeLessThanOrEqual(longestMsMax);
  await cluster.untilReady();
  expect(cluster.pidOf(name)).not.toBe(pid);
});
