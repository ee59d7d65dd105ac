// A server is killed with -9 while `cat` reads a large file from it: the reader notices nothing but a pause. For the
// head, the middle and the tail of the chain that holds the file.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeLarge } from '../cluster/content.ts';
import { catena, RunningCluster } from '../cluster/running-cluster.ts';
import { longestMsMax } from './load.ts';

const MiB = 1 << 20;
const fileBytes = 512 * MiB;
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

interface Read {
  readonly code: number | null;
  readonly stderr: string;
  readonly sha256: string;
  readonly longestMs: number;
}

/** Reads it with cat, and calls `midway` once when a part has come. */
function readWithCat(midway: () => void): Promise<Read> {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  const child = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'pipe'] });
  const hash = createHash('sha256');
  let got = 0;
  let stderr = '';
  let longestMs = 0;
  let last = performance.now();
  let isMidway = false;
  child.stdout.on('data', (piece: Buffer) => {
    longestMs = Math.max(longestMs, performance.now() - last);
    hash.update(piece);
    got += piece.length;
    if (got >= 48 * MiB && !isMidway) {
      isMidway = true;
      midway();
    }
    last = performance.now();
  });
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  return new Promise((resolve) => {
    child.once('close', (code) => resolve({ code, stderr, sha256: hash.digest('hex'), longestMs }));
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
  const before = cluster.pidOf(name);
  let killed = false;
  const read = await readWithCat(() => {
    killed = cluster.tryKill(name);
  });
  expect(killed).toBe(true);
  expect(read.stderr).toBe('');
  expect(read.code).toBe(0);
  expect(read.sha256).toBe(sha256);
  console.info(`${name} killed: longest pause ${read.longestMs.toFixed(0)} ms`);
  expect(read.longestMs).toBeLessThanOrEqual(longestMsMax);
  await cluster.untilReady();
  expect(cluster.pidOf(name)).not.toBe(before);
});
