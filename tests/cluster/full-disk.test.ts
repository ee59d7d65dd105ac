// A disk that is full: writers are told so, deletes work, no service stops, and the space comes back. The disk is an
// ext4 image of a loop device, so that nobody else's runs full.
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

const MiB = 1024 * 1024;
/** From a writer's first byte on a full disk to its error. This file may judge a time: what is promised is one. */
const refusedWithinMs = 1_000;
/** Of any operation, whatever a machine has to do beside. */
const longestMs = 10_000;
const cluster = RunningCluster.prepare();
const disk = dirname(cluster.directory);
const image = `${disk}.img`;

function run(command: string, ...parameters: string[]): void {
  const done = spawnSync(command, parameters, { encoding: 'utf8' });
  expect(done.status, `${command} ${parameters.join(' ')}: ${done.stderr}${done.error ?? ''}`).toBe(0);
}

beforeAll(() => {
  run('truncate', '--size', '1G', image);
  run('mkfs.ext4', '-q', '-m', '0', image);
  run('mount', '-o', 'loop', image, disk);
});
afterAll(() => {
  catena('down', '--dir', cluster.directory);
  run('umount', disk);
  rmSync(image);
  rmSync(disk, { recursive: true });
});

/** Writes a file until the disk is full; the errno, and how many bytes it took. */
function fill(path: string, bytesMax: number): { code: string | undefined; bytes: number } {
  const piece = contentOf(1, MiB);
  let bytes = 0;
  let fd: number | undefined;
  try {
    fd = openSync(path, 'w');
    while (bytes < bytesMax) bytes += writeSync(fd, piece);
    return { code: undefined, bytes };
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code, bytes };
  } finally {
    if (fd !== undefined) {
      try {
        closeSync(fd);
      } catch {} // its length may find no room in the metadata's log
    }
  }
}

/** How long a writer of new bytes waits for its ENOSPC, from its first write on. */
function refusedAfterMs(path: string): number {
  const piece = contentOf(2, MiB);
  const fd = openSync(path, 'a');
  const began = performance.now();
  try {
    for (let written = 0; written < 64; written++) writeSync(fd, piece);
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    return performance.now() - began;
  } finally {
    try {
      closeSync(fd);
    } catch {} // as in fill
  }
  throw new Error(`a full disk took 64 MiB more: ${spawnSync('df', [disk]).stdout}`);
}

/** Where each piece of a file's bytes lies, its length, and the length that it gets on the full disk. */
interface Truncated {
  readonly name: string;
  readonly pieces: readonly (readonly [offset: number, bytes: number])[];
  /** A writer asks for these bytes before, and is refused. */
  readonly refusedAt?: number;
  readonly to: number;
}

/** Those that give room back come last. */
const truncations: readonly Truncated[] = [
  { name: 'up-within', pieces: [[0, 5_000]], refusedAt: 300_000, to: 100_001 },
  { name: 'up-across', pieces: [[0, 5_000]], refusedAt: 20 * MiB + 5_000, to: 20 * MiB + 1_001 },
  { name: 'up-plain', pieces: [[0, 5_000]], to: 20 * MiB + 1_001 },
  { name: 'down-into-a-hole', pieces: [[9 * MiB, 5_000]], to: 4 * MiB + 777 },
  { name: 'down-within', pieces: [[0, 9 * MiB + 5_000]], to: 9 * MiB + 1_001 },
  { name: 'down-across', pieces: [[0, 9 * MiB + 5_000]], to: MiB + 777 },
];
/** Longer than all of them. */
const grownTo = 32 * MiB;

function makeTruncated(folder: string): void {
  for (const { name, pieces } of truncations) {
    const fd = openSync(join(folder, name), 'w');
    for (const [offset, bytes] of pieces) writeSync(fd, contentOf(3, bytes), 0, bytes, offset);
    fsyncSync(fd);
    closeSync(fd);
  }
}

/** Servers give some blocks back after the disk was filled. What is asked of each is as little as a write takes. */
function writeUntilRefused(fd: number, offset: number): void {
  for (let round = 0; round < 100; round++) {
    fillFromOutside();
    try {
      writeSync(fd, Buffer.of(4), 0, 1, offset);
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
      return;
    }
  }
  throw new Error(`a full disk took the same bytes again and again: ${spawnSync('df', [disk]).stdout}`);
}

/** Truncates on the full disk: how long that took. What was cut does not come back when the file grows. */
function truncate(folder: string, { name, pieces, refusedAt, to }: Truncated): number {
  const end = Math.max(...pieces.map(([offset, bytes]) => offset + bytes));
  const model = Buffer.alloc(grownTo);
  for (const [offset, bytes] of pieces) contentOf(3, bytes).copy(model, offset);
  const fd = openSync(join(folder, name), 'r+');
  if (refusedAt !== undefined) writeUntilRefused(fd, refusedAt);
  const began = performance.now();
  ftruncateSync(fd, to);
  const tookMs = performance.now() - began;
  expect(fstatSync(fd).size, name).toBe(to);
  ftruncateSync(fd, grownTo);
  closeSync(fd);
  model.fill(0, Math.min(end, to));
  expect(readFileSync(join(folder, name)).equals(model), `${name} after it grew`).toBe(true);
  return tookMs;
}

const punchedFiles = 20;
const punchedName = (index: number): string => `punched-${index}`;
/** A chunk's blocks, which need no room, and a part of one, which goes through the journal and does. */
const punchedBytes = MiB + 100;

/**
 * Punches files whose pages the kernel has, and most of which cannot be punched as a whole: how many were so in part.
 * Whatever was done of each, the kernel shows it.
 */
function punchInPart(folder: string): number {
  let inPart = 0;
  for (let index = 0; index < punchedFiles; index++) {
    const path = join(folder, punchedName(index));
    fillFromOutside();
    // Open all the while: who opens it gets fresh pages.
    const fd = openSync(path, 'r');
    const read = (): Buffer => {
      const bytes = Buffer.alloc(2 * MiB);
      readSync(fd, bytes, 0, bytes.length, 0);
      return bytes;
    };
    const before = read();
    const done = spawnSync('fallocate', ['-p', '-o', '0', '-l', String(punchedBytes), path], {
      encoding: 'utf8',
    });
    const shown = read();
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    const isShown = shown.equals(read());
    closeSync(fd);
    expect(isShown, `${path} is as it is shown: ${done.stderr}`).toBe(true);
    if (done.status === 0) continue;
    expect(done.stderr).toMatch(/No space left/);
    if (!shown.equals(before)) inPart++;
  }
  return inPart;
}

/** All that is left of the disk, also what the cluster had not taken. */
function fillFromOutside(): void {
  for (let round = 0; statfsSync(disk).bavail > 0 && round < 10; round++) {
    expect(fill(join(disk, `filler-${round}`), 1024 * MiB).code).toBe('ENOSPC');
  }
}

/** Takes what is given back, too, while `work` blocks this thread. */
async function whileFull<Result>(work: () => Result): Promise<Result> {
  const script = 'while :; do dd if=/dev/zero bs=4096 oflag=append conv=notrunc of="$1"; sleep 0.1; done';
  // A group of its own, which ends as a whole: nothing may write here when the image is not mounted any more.
  const words = ['-c', script, 'sh', join(disk, 'filler-kept')];
  const filler = spawn('sh', words, { stdio: 'ignore', detached: true });
  const ended = new Promise<void>((done) => filler.on('close', () => done()));
  try {
    return work();
  } finally {
    if (filler.pid !== undefined) process.kill(-filler.pid, 'SIGKILL');
    await ended;
  }
}

function emptyFromOutside(): void {
  for (const name of readdirSync(disk)) if (name.startsWith('filler-')) unlinkSync(join(disk, name));
}

const pidsOf = (...names: string[]): (number | undefined)[] =>
  cluster
    .status()
    .processes.filter((entry) => names.includes(entry.name))
    .map((entry) => entry.pid);

test('without room for a new cluster nothing is made, in one line', () => {
  fillFromOutside();
  const done = cluster.tryUp('--targets-per-disk', '1');
  expect(done.status).toBe(1);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expect(done.stderr).toMatch(/needs \d+ MiB in .*, 0 MiB are free; make room/);
  expect(existsSync(cluster.directory)).toBe(false);
  emptyFromOutside();
});

test('a full disk: ENOSPC for writers, deletes work, all services stay, and the space comes back', async () => {
  cluster.up('--targets-per-disk', '1');
  const at = (name: string): string => join(cluster.mount, name);
  mkdirSync(at('kept'));
  for (let index = 0; index < 50; index++) {
    writeFileSync(at(`kept/${index}`), contentOf(index, 10_000), { flush: true });
  }
  makeTruncated(at('kept'));
  for (let index = 0; index < punchedFiles; index++) {
    writeFileSync(at(`kept/${punchedName(index)}`), contentOf(index, 2 * MiB), { flush: true });
  }
  const pids = pidsOf('manager', 'meta', 'mount');

  const filled = fill(at('large'), 1024 * MiB);
  expect(filled.code).toBe('ENOSPC');
  expect(filled.bytes).toBeGreaterThan(50 * MiB);
  fillFromOutside();
  const refusedMs = Array.from({ length: 9 }, () => refusedAfterMs(at('large'))).sort(
    (one, other) => one - other,
  );
  console.info(`full disk: ENOSPC after ${refusedMs.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  // Of nine, the one in the middle: a machine that is busy delays some of them.
  expect(refusedMs[4]).toBeLessThanOrEqual(refusedWithinMs);
  const truncatedMs = await whileFull(() => truncations.map((each) => truncate(at('kept'), each)));
  console.info(`full disk: truncated after ${truncatedMs.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  // They wait for nobody's room. Of six, one of those in the middle, for the same reason.
  expect(Math.max(...truncatedMs)).toBeLessThanOrEqual(longestMs);
  expect(truncatedMs.sort((one, other) => one - other)[3]).toBeLessThanOrEqual(refusedWithinMs);
  expect(punchInPart(at('kept'))).toBeGreaterThan(0);
  // Names need room, too. Each is made or refused, whoever got the last block.
  for (let index = 0; index < 3_000; index++) {
    const { code } = fill(at(`empty-${index}`), 0);
    expect([undefined, 'ENOSPC'], `name ${index}`).toContain(code);
  }

  for (let index = 0; index < 50; index++) {
    expect(readFileSync(at(`kept/${index}`)).equals(contentOf(index, 10_000)), `${index}`).toBe(true);
  }
  for (const name of readdirSync(cluster.mount)) if (name !== 'kept') unlinkSync(at(name));
  expect(readdirSync(cluster.mount)).toEqual(['kept']);
  expect(pidsOf('manager', 'meta', 'mount'), cluster.logs()).toEqual(pids);

  emptyFromOutside();
  await untilWritable(at('again'), filled.bytes / 2);
  expect(cluster.status().ready, cluster.status().missing).toBe(true);
  expect(pidsOf('manager', 'meta', 'mount')).toEqual(pids);
});

test('a cluster that stopped on a full disk starts on it, and lets go of what is deleted', async () => {
  cluster.down();
  fillFromOutside();
  cluster.up();
  const at = (name: string): string => join(cluster.mount, name);
  expect(readFileSync(at('kept/7')).equals(contentOf(7, 10_000))).toBe(true);
  unlinkSync(at('again'));
  rmSync(at('kept'), { recursive: true });
  expect(readdirSync(cluster.mount)).toEqual([]);
  emptyFromOutside();
  await untilWritable(at('again'), 20 * MiB);
  expect(cluster.status().ready).toBe(true);
});

/** Chunks of deleted files are removed behind the answer, and reserves are filled again first. */
async function untilWritable(path: string, bytes: number): Promise<void> {
  let last: string | undefined;
  for (let round = 0; round < 60; round++) {
    last = fill(path, bytes).code;
    if (last === undefined) return;
    await sleep(1_000);
  }
  throw new Error(`still ${last} although there is room: ${spawnSync('df', [disk]).stdout}${cluster.logs()}`);
}
