// Disks that are full, that die, and whose bytes rot: real file systems on loop devices below a real cluster.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { LoopDisk } from './loop-disks.ts';
import { catena, RunningCluster } from './running-cluster.ts';

const MiB = 1024 * 1024;
const block = 4096;
const nodes = [1, 2, 3] as const;

let cluster: RunningCluster;
let disks: LoopDisk[];
beforeAll(() => {
  cluster = RunningCluster.prepare();
  disks = nodes.map((node) => new LoopDisk(cluster.directory, node));
  cluster.up();
});
afterAll(() => {
  cluster.down();
  for (const disk of disks) disk.unmount();
  cluster.stop();
});

function diskOf(node: number): LoopDisk {
  const disk = disks[node - 1];
  if (disk === undefined) throw new Error(`no node ${node}`);
  return disk;
}

function at(name: string): string {
  return join(cluster.mount, name);
}

function serving(): number {
  const members = (cluster.status().chains ?? []).flatMap((chain) => chain.members);
  return members.filter((member) => member.state === 'serving').length;
}

async function until(what: string, holds: () => boolean, withinMs = 60_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`${what}: not after ${withinMs} ms\n${cluster.logs()}`);
    await sleep(100);
  }
}

/** The code of what the operation threw. */
function codeOf(operation: () => void): string | undefined {
  try {
    operation();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/** Every block of the segments below a folder that holds data. Segments are sparse; perl knows SEEK_DATA. */
function blocksBelow(folder: string): { path: string; offset: number }[] {
  const script =
    'open $f, "<", shift; $n = -s $f; $at = 0; while ($at < $n) { ' +
    'defined($s = sysseek $f, $at, 3) or last; $at = sysseek $f, $s, 4; print $s + 0, " $at\\n" }';
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  return files
    .filter((entry) => entry.name.startsWith('segment-'))
    .flatMap((entry) => {
      const path = join(entry.parentPath, entry.name);
      const lines = spawnSync('perl', ['-e', script, path], { encoding: 'utf8' }).stdout.split('\n');
      return lines
        .filter((line) => line !== '')
        .flatMap((line) => {
          const [start = 0, end = 0] = line.split(' ').map(Number);
          const count = Math.ceil((end - start) / block);
          return Array.from({ length: count }, (_, number) => ({ path, offset: start + number * block }));
        });
    });
}

function readBlock(path: string, offset: number): Buffer {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(block);
  readSync(fd, bytes, 0, block, offset);
  closeSync(fd);
  return bytes;
}

function writeBlock(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, block, offset);
  closeSync(fd);
}

function scrubAll(): { status: number | null; found: number; damaged: number } {
  const done = catena('scrub', '--wait', '--json', '--dir', cluster.directory);
  const targets = JSON.parse(done.stdout) as { running: boolean; found: number; damaged: number }[];
  expect(targets.every((target) => !target.running)).toBe(true);
  const sum = (part: (target: { found: number; damaged: number }) => number): number =>
    targets.reduce((total, target) => total + part(target), 0);
  return {
    status: done.status,
    found: sum((target) => target.found),
    damaged: sum((target) => target.damaged),
  };
}

function verify(): { status: number | null; text: string } {
  const done = catena('verify', '--dir', cluster.directory);
  return { status: done.status, text: done.stdout + done.stderr };
}

test.each([[[1]], [[1, 2]], [[1, 2, 3]]])('full disks of nodes %j are no outage', async (full) => {
  const members = serving();
  const kept = contentOf(1, 3 * MiB);
  writeFileSync(at('kept'), kept, { flush: true });
  const removed = Array.from({ length: 6 }, (_, number) => `removed-${number}`);
  for (const name of removed) writeFileSync(at(name), contentOf(2, 6 * MiB), { flush: true });
  for (const node of full) diskOf(node).fill();
  // What the servers know of their disks is at most a moment old: until then the reserve takes it.
  await until('a write is refused', () => {
    return codeOf(() => writeFileSync(at('refused'), contentOf(3, 8 * MiB), { flush: true })) === 'ENOSPC';
  });
  expect(readFileSync(at('kept')).equals(kept)).toBe(true);
  expect(serving(), cluster.logs()).toBe(members);
  // Deletes work, and what they free can be written again, with the disk as full as it is otherwise.
  rmSync(at('refused'), { force: true });
  for (const name of removed) rmSync(at(name));
  const again = contentOf(4, 2 * MiB);
  await until('there is room again', () => {
    return codeOf(() => writeFileSync(at('again'), again, { flush: true })) === undefined;
  });
  expect(readFileSync(at('again')).equals(again)).toBe(true);
  expect(serving(), cluster.logs()).toBe(members);
  for (const node of full) diskOf(node).empty();
  rmSync(at('again'));
  expect(verify()).toMatchObject({ status: 0 });
});

test('a disk that fails takes its own targets offline, and comes back whole', async () => {
  const members = serving();
  const first = contentOf(5, 4 * MiB);
  writeFileSync(at('first'), first, { flush: true });
  diskOf(3).die();
  const second = contentOf(6, 4 * MiB);
  writeFileSync(at('second'), second, { flush: true });
  await until('its targets left', () => serving() === (members / 3) * 2);
  expect(readFileSync(at('first')).equals(first)).toBe(true);
  cluster.kill('storage-3');
  diskOf(3).unmount();
  diskOf(3).mount();
  await until('all serve again', () => serving() === members, 120_000);
  expect(readFileSync(at('second')).equals(second)).toBe(true);
  expect(verify()).toMatchObject({ status: 0 });
});

test('two hundred damaged blocks of one copy: all found, none returned, all repaired', async () => {
  const files = Array.from({ length: 6 }, (_, number) => ({
    name: `rot-${number}`,
    data: contentOf(20 + number, 4 * MiB + 777),
  }));
  for (const { name, data } of files) writeFileSync(at(name), data, { flush: true });
  const known = new Set(
    files.flatMap(({ data }) =>
      Array.from({ length: Math.floor(data.length / block) }, (_, number) =>
        data.toString('latin1', number * block, number * block + 64),
      ),
    ),
  );
  const stored = blocksBelow(diskOf(2).path)
    .map((place) => ({ ...place, good: readBlock(place.path, place.offset) }))
    .filter(({ good }) => known.has(good.toString('latin1', 0, 64)));
  expect(stored.length).toBeGreaterThan(2_000);
  const chosen = Array.from({ length: 210 }, (_, number) => stored[(number * 29) % stored.length]);
  const places = chosen.filter((place) => place !== undefined);
  expect(new Set(places).size).toBe(210);
  places.forEach(({ path, offset, good }, number) => {
    const bad = Buffer.from(good);
    if (number % 3 === 0) bad[number * 17] = (bad[number * 17] ?? 0) ^ (1 << (number % 8));
    else if (number % 3 === 1) bad.fill(0);
    else places[(number + 1) % 210]?.good.copy(bad);
    expect(bad.equals(good)).toBe(false);
    writeBlock(path, offset, bad);
  });
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  for (const { name, data } of files) expect(readFileSync(at(name)).equals(data), name).toBe(true);
  const scrubbed = scrubAll();
  expect(scrubbed.found + scrubbed.damaged, 'reads repaired the rest').toBeGreaterThanOrEqual(0);
  await until('everything is repaired', () => scrubAll().status === 0);
  for (const { path, offset, good } of places) expect(readBlock(path, offset).equals(good)).toBe(true);
  expect(scrubAll()).toEqual({ status: 0, found: 0, damaged: 0 });
  expect(verify()).toMatchObject({ status: 0 });
});

test('a block that is damaged in every copy costs that range alone, and is reported', () => {
  const data = contentOf(40, MiB);
  writeFileSync(at('lost'), data, { flush: true });
  const bad = 70;
  const wanted = data.subarray(bad * block, (bad + 1) * block);
  for (const node of nodes) {
    const place = blocksBelow(diskOf(node).path).find(({ path, offset }) =>
      readBlock(path, offset).equals(wanted),
    );
    expect(place, `node ${node}`).toBeDefined();
    if (place === undefined) return;
    const flipped = Buffer.from(wanted);
    flipped[node * 100] = (flipped[node * 100] ?? 0) ^ 1;
    writeBlock(place.path, place.offset, flipped);
  }
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  const fd = openSync(at('lost'), 'r');
  for (const number of [0, 68, 69, 70, 71, 72, 255]) {
    const bytes = Buffer.alloc(block);
    const code = codeOf(() => readSync(fd, bytes, 0, block, number * block));
    expect(code, `block ${number}`).toBe(number === bad ? 'EIO' : undefined);
    if (number !== bad) expect(bytes.equals(data.subarray(number * block, (number + 1) * block))).toBe(true);
  }
  closeSync(fd);
  expect(scrubAll()).toMatchObject({ status: 1, damaged: 3 });
  const found = verify();
  expect(found.status).toBe(1);
  expect(found.text).toMatch(/checksum/);
  // Written anew, it is whole.
  writeFileSync(at('lost'), data, { flush: true });
  expect(readFileSync(at('lost')).equals(data)).toBe(true);
  expect(verify()).toMatchObject({ status: 0 });
});
