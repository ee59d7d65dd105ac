// A disk fails under verifying load, and one that nobody uses becomes read-only: in two seconds its targets are out,
// and no others; an empty one in its place is filled by one command.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { untilEqual } from '../faults/load.ts';
import { command, isRunning, LoopFileSystem } from '../faults/machine.ts';
import { witness } from '../faults/program.ts';
import { ChangingCluster, type Target } from './changing-cluster.ts';
import type { RunningCluster } from './running-cluster.ts';

let cluster: ChangingCluster;
/** Where a word makes the first disk of server 4 fail. */
let faultPath: string;
/** What has that disk's place now. */
let fourthDisk: LoopFileSystem;

beforeAll(async () => {
  cluster = await ChangingCluster.start(prepareFourthDisk);
  // Of two disks one fails.
  cluster.run('add', '4', '--disk', '--wait');
});
afterAll(() => cluster?.stop());

async function prepareFourthDisk(running: RunningCluster): Promise<() => Promise<void>> {
  const folder = dirname(running.directory);
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  faultPath = join(disk, 'fault');
  const failing = witness('disk', { mount: disk, image: join(folder, 'image'), bytes: 2 ** 30 });
  await failing.until('mounted');
  fourthDisk = emptyDisk(running, join(disk, 'disk'));
  return async () => {
    await fourthDisk.unmount();
    failing.endInput();
    await failing.ended;
  };
}

/** In the place of server 4's first disk. */
function emptyDisk(running: RunningCluster, backing: string): LoopFileSystem {
  const place = join(running.directory, 'storage-4', 'disk-0');
  const fileSystem = LoopFileSystem.mount(backing, place, true);
  // An ext4 brings a folder of its own, which is nobody's data.
  rmSync(join(place, 'lost+found'), { recursive: true });
  return fileSystem;
}

/** A disk that reports an error is out in two seconds, also one that nobody uses. */
const offlineWithinMs = 2_000;

const isOnFailing = ({ node, disk }: Target): boolean => node === 4 && disk === 0;

/** Until all of them are out and nobody else, then and a while later; how long that took, by the manager's log. */
async function untilOffline(own: readonly Target[], fault: () => void): Promise<number> {
  const affected = new Set(own.map(({ chain }) => chain));
  const failedAtMs = Date.now();
  fault();
  await cluster.running.until('its targets are offline', () =>
    cluster
      .targets()
      .filter(isOnFailing)
      .every(({ state }) => state === 'offline'),
  );
  const changedAtMs = [...affected].map((id) => {
    const changes = cluster.running
      .events('manager')
      .filter(({ event, chain }) => event === 'chain.change' && chain === id);
    const times = changes.map(({ time }) => Date.parse(String(time)));
    return times.find((time) => time >= failedAtMs) ?? Number.POSITIVE_INFINITY;
  });
  for (let round = 0; round < 10; round++) {
    const out = cluster.targets().filter(({ state }) => state !== 'serving');
    expect(out.map(({ target }) => target).sort()).toEqual(own.map(({ target }) => target).sort());
    await sleep(100);
  }
  return Math.max(...changedAtMs) - failedAtMs;
}

let newImages = 0;

/** An empty disk in the place of server 4's first, for which the server starts anew; its replicas come back. */
async function replaceFailed(pid: number): Promise<void> {
  const supervisor = cluster.running.supervisorPid();
  process.kill(supervisor, 'SIGSTOP');
  try {
    process.kill(pid, 'SIGKILL');
    await cluster.running.until('the server is gone', () => !isRunning(pid));
    writeFileSync(faultPath, 'none');
    await fourthDisk.unmount();
    const image = join(dirname(cluster.running.directory), `new-image-${++newImages}`);
    command('truncate', '--size', '1G', image);
    fourthDisk = emptyDisk(cluster.running, image);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await cluster.running.until('the server is back', () => {
    const own = cluster.running.status().processes.find(({ name }) => name === 'storage-4');
    return own?.healthy === true && own.pid !== pid;
  });
  cluster.run('replace', 'storage-4', '--disk', '0', '--wait');
}

test('a disk fails under load: its targets alone go offline, and an empty one in its place is filled', async () => {
  const own = cluster.targets().filter(isOnFailing);
  expect(own.length).toBeGreaterThan(0);
  expect(cluster.targets().some(({ node, disk }) => node === 4 && disk === 1)).toBe(true);
  const pid = cluster.running.pidOf('storage-4');
  await cluster.underLoad('disk-failure', async () => {
    const offlineMs = await untilOffline(own, () => writeFileSync(faultPath, 'fail'));
    console.info(`disk-failure: ${JSON.stringify({ targets: own.length, offlineMs })}`);
    expect(offlineMs).toBeLessThanOrEqual(offlineWithinMs);
    // The server goes on with its other disk.
    expect(cluster.running.pidOf('storage-4')).toBe(pid);
    await replaceFailed(pid);
  });
  const filled = cluster.targets().filter(isOnFailing);
  expect(filled).toHaveLength(own.length);
  expect(filled.every(({ state, diskError }) => state === 'serving' && diskError === false)).toBe(true);
});

test('a file system that becomes read-only is out in time, although nobody uses it', async () => {
  const own = cluster.targets().filter(isOnFailing);
  const pid = cluster.running.pidOf('storage-4');
  // As ext4 does it after an error of its own, whoever has files open.
  const offlineMs = await untilOffline(own, () => command('mount', '-o', 'remount,abort', fourthDisk.path));
  console.info(`read-only: ${JSON.stringify({ targets: own.length, offlineMs })}`);
  expect(offlineMs).toBeLessThanOrEqual(offlineWithinMs);
  expect(cluster.running.pidOf('storage-4')).toBe(pid);
  writeFileSync(join(cluster.running.mount, 'while-read-only'), 'written', { flush: true });
  await replaceFailed(pid);
  expect(cluster.targets().every(({ state, diskError }) => state === 'serving' && diskError === false)).toBe(
    true,
  );
  await untilEqual(cluster.running);
});
