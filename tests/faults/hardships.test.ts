// One server at a time has a hard time under verifying readers and writers: it is paused beyond its lease, its disk
// is slow, full, found empty. No client sees an error (but ENOSPC for what needs room on a full disk) or a wrong byte,
// and the copies are equal afterwards.

import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RunningCluster } from '../cluster/running-cluster.ts';
import { ExtraMount } from './extra-mount.ts';
import {
  equalWithinMs,
  Load,
  type LoadFigures,
  longestMsMax,
  longestMsMaxAfterManagerDeath,
  overTwoSecondsPartMax,
  untilEqual,
} from './load.ts';
import { fill, isRunning, LoopFileSystem } from './machine.ts';
import { type Program, witness } from './program.ts';
import { fromEnvironment, seedOf } from './schedule.ts';

/** Beyond the lease of 5 s and its margin. */
const hardMs = fromEnvironment('CATENA_HARDSHIP_MS', 8_000);
/** It is the only one, so everybody's lease ends with its own, and clients wait until it goes on. */
const managerPausedMs = 8_000;
/** What needs no lease to end. */
const shortMs = hardMs / 2;
const diskBytes = 2 ** 30;
let cluster: RunningCluster;
let slowDisk: Program;
let faultPath: string;
/** The data directory that is a file system of its own. */
let place: string;
let fileSystem: LoopFileSystem;
const mounts: ExtraMount[] = [];
const undo: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  cluster = RunningCluster.prepare();
  undo.push(() => cluster.stop());
  cluster.init();
  // The second server's disk is one whose speed we decide.
  const folder = dirname(cluster.directory);
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  slowDisk = witness('disk', { mount: disk, image: join(folder, 'image'), bytes: diskBytes });
  undo.push(async () => {
    slowDisk.endInput();
    await slowDisk.ended;
  });
  await slowDisk.until('mounted');
  faultPath = join(disk, 'fault');
  place = join(cluster.directory, 'storage-2', 'disk-0');
  fileSystem = LoopFileSystem.mount(join(disk, 'disk'), place, true);
  // An ext4 brings a folder of its own, which is nobody's data.
  rmSync(join(place, 'lost+found'), { recursive: true });
  undo.push(() => fileSystem.unmount());
  appendFileSync(join(cluster.directory, 'config', 'storage-2.toml'), 'mountedDisks = "required"\n');
  undo.push(() => cluster.down());
  cluster.up();
  for (const number of [1, 2]) {
    const mount = await ExtraMount.start(cluster, number);
    mounts.push(mount);
    undo.push(() => mount.stop());
  }
});
afterAll(async () => {
  for (const step of undo.reverse()) await step();
});

async function underLoad(
  name: string,
  hardship: () => Promise<void>,
  { hardshipMs = hardMs, longestMs = longestMsMax, mayBeFull = false } = {},
): Promise<LoadFigures> {
  const seed = seedOf('tests/faults/hardships.test.ts', `CATENA_HARDSHIP_MS=${hardMs}`);
  const seconds = Math.ceil(hardshipMs / 1_000) + 4;
  const load = new Load({ cluster, mounts, seed, seconds, name, mayBeFull });
  await sleep(1_500);
  await hardship();
  const over = performance.now();
  const figures = await load.judge();
  const equalMs = await untilEqual(cluster, over);
  console.info(`${name}: ${JSON.stringify({ ...figures, equalMs })}`);
  expect(figures.overTwoSecondsPart).toBeLessThanOrEqual(overTwoSecondsPartMax);
  expect(figures.longestMs).toBeLessThanOrEqual(longestMs);
  expect(equalMs).toBeLessThanOrEqual(equalWithinMs);
  return figures;
}

/** `before`: what must be so when the pause ends. */
async function paused(name: string, pausedMs: number, before: () => void): Promise<void> {
  const pid = cluster.pidOf(name);
  process.kill(pid, 'SIGSTOP');
  try {
    await sleep(pausedMs);
    // Nobody has killed it or let it go on meanwhile.
    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^State:\tT/m);
    before();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

test('a storage server is paused beyond its lease', async () => {
  const isServing = (): boolean[] =>
    (cluster.status().chains ?? []).flatMap(({ members }) =>
      members.filter(({ node }) => node === 1).map(({ state }) => state === 'serving'),
    );
  expect(new Set(isServing())).toEqual(new Set([true]));
  await underLoad('paused-storage', () =>
    paused('storage-1', hardMs, () => {
      expect(new Set(isServing()), 'every chain went on without it').toEqual(new Set([false]));
    }),
  );
});

test('the manager is paused beyond its lease', async () => {
  const pid = cluster.pidOf('manager');
  await underLoad('paused-manager', () => paused('manager', managerPausedMs, () => {}), {
    hardshipMs: managerPausedMs,
    longestMs: longestMsMaxAfterManagerDeath,
  });
  expect(cluster.pidOf('manager')).toBe(pid);
});

/** Requests that the second server's disk has delayed so far. */
const delayed = (): number => Number(readFileSync(faultPath, 'utf8'));

test('a disk is slow', async () => {
  await underLoad(
    'slow-disk',
    async () => {
      const before = delayed();
      writeFileSync(faultPath, 'delay-ms 20');
      await sleep(shortMs);
      writeFileSync(faultPath, 'none');
      expect(delayed(), 'requests of the disk were delayed').toBeGreaterThan(before + 10);
    },
    { hardshipMs: shortMs },
  );
});

test('a disk is full: what needs no room goes on, and the rest as soon as there is some', async () => {
  const filler = join(place, 'filler');
  const pid = cluster.pidOf('storage-2');
  const versions = (): string[] => (cluster.status().chains ?? []).map(({ version }) => version);
  const before = versions();
  const { refused } = await underLoad(
    'full-disk',
    async () => {
      // Space that is given back meanwhile is taken, too.
      for (const until = performance.now() + shortMs; performance.now() < until; ) {
        fill(filler);
        await sleep(500);
      }
      rmSync(filler);
    },
    { hardshipMs: shortMs, mayBeFull: true },
  );
  expect(refused).toBeGreaterThan(0);
  // A full disk is no failed one: its server stays, in every chain.
  expect(cluster.pidOf('storage-2')).toBe(pid);
  expect(versions()).toEqual(before);
  writeFileSync(join(cluster.mount, 'after'), Buffer.alloc(32 << 20, 7), { flush: true });
});

test('a disk is found empty when its server comes back', async () => {
  await underLoad(
    'empty-disk',
    async () => {
      const supervisor = cluster.supervisorPid();
      process.kill(supervisor, 'SIGSTOP');
      expect(cluster.tryKill('storage-3')).toBe(true);
      const disk = join(cluster.directory, 'storage-3', 'disk-0');
      for (const name of readdirSync(disk)) rmSync(join(disk, name), { recursive: true });
      process.kill(supervisor, 'SIGCONT');
      await sleep(1_000);
    },
    { hardshipMs: shortMs },
  );
  // Filled again: all copies were compared.
  const disk = readdirSync(join(cluster.directory, 'storage-3', 'disk-0'), {
    recursive: true,
    encoding: 'utf8',
  });
  expect(disk.some((name) => basename(name).startsWith('segment-'))).toBe(true);
});

test('a disk that is not mounted is not filled below its mount point', async () => {
  const supervisor = cluster.supervisorPid();
  const log = join(cluster.directory, 'logs', 'storage-2.log');
  const refusals = (): number => readFileSync(log, 'utf8').split('is not mounted').length;
  const before = refusals();
  const pid = cluster.pidOf('storage-2');
  process.kill(supervisor, 'SIGSTOP');
  try {
    process.kill(pid, 'SIGKILL');
    await cluster.until('the server is gone', () => !isRunning(pid));
    await fileSystem.unmount();
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await expect.poll(refusals, { timeout: 30_000, interval: 100 }).toBeGreaterThan(before);
  expect(readdirSync(place)).toEqual([]);
  writeFileSync(join(cluster.mount, 'without'), Buffer.alloc(8 << 20, 9), { flush: true });
  fileSystem = LoopFileSystem.mount(join(dirname(cluster.directory), 'disk', 'disk'), place, false);
  await untilEqual(cluster);
});
