// Nodes and disks come and go under verifying load: no error at a client, nothing lost, every chain whole again, and
// nothing left where everything moved off, also when the manager dies in the middle.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ExtraMount } from '../faults/extra-mount.ts';
import {
  Load,
  longestMsMax,
  longestMsMaxAfterManagerDeath,
  overTwoSecondsPartMax,
  reportOfBench,
  untilEqual,
  verifyingBench,
} from '../faults/load.ts';
import { command, isRunning, LoopFileSystem } from '../faults/machine.ts';
import { witness } from '../faults/program.ts';
import { fromEnvironment, seedOf } from '../faults/schedule.ts';
import { catena, catenaPath, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
let mount: ExtraMount;
/** Where a word makes the first disk of server 4 fail. */
let faultPath: string;
/** What has that disk's place now. */
let fourthDisk: LoopFileSystem;
const undo: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  cluster = RunningCluster.prepare();
  undo.push(() => cluster.remove());
  cluster.init('--nodes', '5', '--targets-per-disk', '3');
  const folder = dirname(cluster.directory);
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const failing = witness('disk', { mount: disk, image: join(folder, 'image'), bytes: 2 ** 30 });
  undo.push(async () => {
    failing.endInput();
    await failing.ended;
  });
  await failing.until('mounted');
  faultPath = join(disk, 'fault');
  fourthDisk = emptyDisk(join(disk, 'disk'));
  undo.push(() => fourthDisk.unmount());
  undo.push(() => cluster.down());
  cluster.up();
  mount = await ExtraMount.start(cluster, 1);
  undo.push(() => mount.stop());
});
afterAll(async () => {
  for (const step of undo.reverse()) await step();
});

/** In the place of server 4's first disk. */
function emptyDisk(backing: string): LoopFileSystem {
  const place = join(cluster.directory, 'storage-4', 'disk-0');
  const fileSystem = LoopFileSystem.mount(backing, place, true);
  // An ext4 brings a folder of its own, which is nobody's data.
  rmSync(join(place, 'lost+found'), { recursive: true });
  return fileSystem;
}

interface Chain {
  id: number;
  members: { node: number; disk: number; state: string; tenure?: string }[];
}
interface Change {
  waitsFor: string | null;
}

/** Of each change: it has to be over before. */
const seconds = fromEnvironment('CATENA_CHANGE_SECONDS', 15);

function json<T>(...parameters: string[]): T {
  const done = catena(...parameters, '--json', '--dir', cluster.directory);
  if (done.status !== 0) throw new Error(`catena ${parameters.join(' ')}: ${done.stderr}`);
  return JSON.parse(done.stdout) as T;
}

const chains = (): Chain[] => json<Chain[]>('chains');
const changes = (): Change[] => json<{ changes: Change[] }>('nodes').changes;
const replicasOn = (node: number): number =>
  chains().filter((chain) => chain.members.some((member) => member.node === node)).length;

function run(...parameters: string[]): string {
  const done = catena(...parameters, '--dir', cluster.directory);
  expect(done.status, done.stdout + done.stderr).toBe(0);
  return done.stdout;
}

function refused(...parameters: string[]): string {
  const done = catena(...parameters, '--dir', cluster.directory);
  expect(done.status).toBe(1);
  expect(done.stderr.trim().split('\n'), done.stderr).toHaveLength(1);
  return done.stderr;
}

/** What is done while the load runs; then no client has seen an error, and every chain has three equal copies. */
async function underLoad(
  name: string,
  change: () => Promise<void>,
  longestMs: number = longestMsMax,
): Promise<void> {
  const seed = seedOf('tests/cluster/change.test.ts', `CATENA_CHANGE_SECONDS=${seconds}`);
  const load = new Load({ cluster, mounts: [mount], seed, seconds, name });
  try {
    await sleep(1_000);
    await change();
    const figures = await load.judge();
    console.info(`${name}: ${JSON.stringify(figures)}`);
    expect(figures.overTwoSecondsPart).toBeLessThanOrEqual(overTwoSecondsPartMax);
    expect(figures.longestMs).toBeLessThanOrEqual(longestMs);
  } catch (error) {
    await load.kill();
    throw error;
  }
  await untilEqual(cluster);
  for (const chain of chains()) {
    expect(
      chain.members.map((member) => member.state),
      `chain ${chain.id}`,
    ).toEqual(['serving', 'serving', 'serving']);
    expect(new Set(chain.members.map((member) => member.node)).size, `chain ${chain.id}`).toBe(3);
  }
}

/** Folders of targets that lie on a disk, and what is left of removed ones. */
function targetFolders(node: number, disk = 0): string[] {
  const path = join(cluster.directory, `storage-${node}`, `disk-${disk}`);
  return existsSync(path) ? readdirSync(path).filter((name) => /^(target|removed)-/.test(name)) : [];
}

test('a node is drained while the manager is killed in the middle, and holds nothing afterwards', async () => {
  const ids = chains().map((chain) => chain.id);
  expect(replicasOn(2)).toBe(3);
  expect(targetFolders(2)).toHaveLength(3);
  const servesOn = (node: number): number =>
    chains().filter((chain) => chain.members.some((m) => m.node === node && m.state === 'serving')).length;
  await underLoad(
    'drain',
    async () => {
      // A server that hangs keeps the drain from ending: where it has a copy too, no other may go.
      const hanging = cluster.pidOf('storage-5');
      process.kill(hanging, 'SIGSTOP');
      try {
        await cluster.until('the hanging server is out', () => servesOn(5) === 0);
        expect(run('drain', '2')).toMatch(/3 replicas move off node 2/);
        expect(run('drain', '2')).toMatch(/the drain of node 2 runs already/);
        expect(refused('add', '2')).toMatch(/a drain of node 2 already runs/);
        await cluster.until('what can move has moved', () =>
          changes().every((change) => change.waitsFor !== null),
        );
        cluster.kill('manager');
        await cluster.until(
          'the manager is back',
          () => catena('nodes', '--dir', cluster.directory).status === 0,
        );
        expect(changes()).toHaveLength(1);
        expect(replicasOn(2)).toBeGreaterThan(0);
      } finally {
        process.kill(hanging, 'SIGCONT');
      }
      await cluster.until('the drain is done', () => changes().length === 0);
    },
    longestMsMaxAfterManagerDeath,
  );
  expect(replicasOn(2)).toBe(0);
  expect(chains().map((chain) => chain.id)).toEqual(ids);
  await cluster.until('its files are gone', () => targetFolders(2).length === 0);
});

test('a wiped disk is filled again by one command', async () => {
  await underLoad('replace', async () => {
    const killed = cluster.kill('storage-3');
    // By one rename: the server that is started again at once must not find a part of it.
    const disk = join(cluster.directory, 'storage-3', 'disk-0');
    renameSync(disk, `${disk}.gone`);
    rmSync(`${disk}.gone`, { recursive: true });
    await cluster.until('its process is back', () =>
      cluster
        .status()
        .processes.some((entry) => entry.name === 'storage-3' && entry.healthy && entry.pid !== killed),
    );
    run('replace', 'storage-3', '--wait');
    expect(changes()).toEqual([]);
    for (const chain of chains())
      expect(chain.members.every((member) => member.state === 'serving')).toBe(true);
  });
  expect(replicasOn(3)).toBeGreaterThan(0);
  expect(targetFolders(3)).toHaveLength(replicasOn(3));
});

interface Described {
  name: string;
  disks?: number;
  isDiskPending?: true;
}

function described(name: string): Described {
  const text = readFileSync(join(cluster.directory, 'cluster.json'), 'utf8');
  const { processes } = JSON.parse(text) as { processes: Described[] };
  return processes.find((process) => process.name === name)!;
}

/** As if it had been killed before it wrote what it did into the description of the cluster. */
function unwritten(order: () => void): void {
  const path = join(cluster.directory, 'cluster.json');
  const before = readFileSync(path);
  order();
  writeFileSync(path, before);
}

async function killedWhen(isTime: () => boolean, words: string[]): Promise<void> {
  const child = spawn(catenaPath, [...words, '--dir', cluster.directory], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  while (!isTime() && child.exitCode === null) await sleep(1);
  expect(child.kill('SIGKILL')).toBe(true);
  await ended;
}

test('a new server gets its share, a disk more of another one too, and the drained one is removed', async () => {
  await underLoad('add', async () => {
    expect(refused('remove', '3')).toMatch(/node 3 holds \d+ replicas; first: catena drain 3/);
    // Each is interrupted once the manager has the order, or before it has it, and given again.
    unwritten(() => run('remove', '2'));
    expect(run('remove', '2')).toMatch(/node 2 is forgotten/);
    unwritten(() => run('add'));
    expect(run('add', '--wait')).toMatch(/the balancing of node 2 runs already/);
    await killedWhen(() => described('storage-4').isDiskPending === true, ['add', '4', '--disk']);
    run('add', '4', '--disk', '--wait');
  });
  expect(described('storage-4').disks).toBe(2);
  expect(described('storage-4').isDiskPending).toBeUndefined();
  // Its number was free again: the new one is node 2, on an empty folder.
  expect(replicasOn(2)).toBeGreaterThanOrEqual(2);
  const loads = [1, 2, 3, 4, 5].map((node) => replicasOn(node));
  expect(loads.reduce((sum, replicas) => sum + replicas, 0)).toBe(15);
  expect(
    chains().some((chain) => chain.members.some((member) => member.node === 4 && member.disk === 1)),
  ).toBe(true);
  expect(cluster.status().ready).toBe(true);
});

test('what cannot be done is refused in one line, and nothing changes', () => {
  const before = chains();
  expect(refused('drain', '9')).toMatch(/there is no storage node 9; there are/);
  expect(refused('drain', 'x')).toMatch(/"x" names no storage node/);
  expect(refused('drain', '2', '--disk', '7')).toMatch(/node 2 has 1 disks/);
  expect(refused('drain', '2', '--abort')).toMatch(/no change of node 2 runs/);
  expect(refused('remove', '8')).toMatch(/no storage server 8 on this machine/);
  expect(run('replace', '3')).toMatch(/no replica on node 3 is missing/);
  expect(chains()).toEqual(before);
});

interface Target {
  target: string;
  chain: number;
  node: number;
  disk: number;
  state: string;
  diskError: boolean | null;
}
/** A disk that reports an error is out in two seconds, also one that nobody uses. */
const offlineWithinMs = 2_000;

const targets = (): Target[] => json<Target[]>('targets');
const isOnFailing = ({ node, disk }: Target): boolean => node === 4 && disk === 0;

/** Until all of them are out and nobody else, then and a while later; how long that took, by the manager's log. */
async function untilOffline(own: readonly Target[], fault: () => void): Promise<number> {
  const affected = new Set(own.map(({ chain }) => chain));
  const failedAtMs = Date.now();
  fault();
  await cluster.until('its targets are offline', () =>
    targets()
      .filter(isOnFailing)
      .every(({ state }) => state === 'offline'),
  );
  const changedAtMs = [...affected].map((id) => {
    const changes = cluster
      .events('manager')
      .filter(({ event, chain }) => event === 'chain.change' && chain === id);
    const times = changes.map(({ time }) => Date.parse(String(time)));
    return times.find((time) => time >= failedAtMs) ?? Number.POSITIVE_INFINITY;
  });
  for (let round = 0; round < 10; round++) {
    const out = targets().filter(({ state }) => state !== 'serving');
    expect(out.map(({ target }) => target).sort()).toEqual(own.map(({ target }) => target).sort());
    await sleep(100);
  }
  return Math.max(...changedAtMs) - failedAtMs;
}

let newImages = 0;

/** An empty disk in the place of server 4's first, for which the server starts anew; its replicas come back. */
async function replaceFailed(pid: number): Promise<void> {
  const supervisor = cluster.supervisorPid();
  process.kill(supervisor, 'SIGSTOP');
  try {
    process.kill(pid, 'SIGKILL');
    await cluster.until('the server is gone', () => !isRunning(pid));
    writeFileSync(faultPath, 'none');
    await fourthDisk.unmount();
    const image = join(dirname(cluster.directory), `new-image-${++newImages}`);
    command('truncate', '--size', '1G', image);
    fourthDisk = emptyDisk(image);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await cluster.until('the server is back', () => {
    const own = cluster.status().processes.find(({ name }) => name === 'storage-4');
    return own?.healthy === true && own.pid !== pid;
  });
  run('replace', 'storage-4', '--disk', '0', '--wait');
}

test('a disk fails under load: its targets alone go offline, and an empty one in its place is filled', async () => {
  const own = targets().filter(isOnFailing);
  expect(own.length).toBeGreaterThan(0);
  expect(targets().some(({ node, disk }) => node === 4 && disk === 1)).toBe(true);
  const pid = cluster.pidOf('storage-4');
  await underLoad('disk-failure', async () => {
    const offlineMs = await untilOffline(own, () => writeFileSync(faultPath, 'fail'));
    console.info(`disk-failure: ${JSON.stringify({ targets: own.length, offlineMs })}`);
    expect(offlineMs).toBeLessThanOrEqual(offlineWithinMs);
    // The server goes on with its other disk.
    expect(cluster.pidOf('storage-4')).toBe(pid);
    await replaceFailed(pid);
  });
  const filled = targets().filter(isOnFailing);
  expect(filled).toHaveLength(own.length);
  expect(filled.every(({ state, diskError }) => state === 'serving' && diskError === false)).toBe(true);
});

test('a file system that becomes read-only is out in time, although nobody uses it', async () => {
  const own = targets().filter(isOnFailing);
  const pid = cluster.pidOf('storage-4');
  // As ext4 does it after an error of its own, whoever has files open.
  const offlineMs = await untilOffline(own, () => command('mount', '-o', 'remount,abort', fourthDisk.path));
  console.info(`read-only: ${JSON.stringify({ targets: own.length, offlineMs })}`);
  expect(offlineMs).toBeLessThanOrEqual(offlineWithinMs);
  expect(cluster.pidOf('storage-4')).toBe(pid);
  writeFileSync(join(cluster.mount, 'while-read-only'), 'written', { flush: true });
  await replaceFailed(pid);
  expect(targets().every(({ state, diskError }) => state === 'serving' && diskError === false)).toBe(true);
  await untilEqual(cluster);
});

test('a server that hangs for good is replaced by another one', async () => {
  const lost = replicasOn(3);
  expect(lost).toBeGreaterThan(0);
  const pid = cluster.pidOf('storage-3');
  await underLoad('replace-with', async () => {
    process.kill(pid, 'SIGSTOP');
    try {
      await cluster.until('it is out', () =>
        json<Target[]>('targets')
          .filter(({ node }) => node === 3)
          .every(({ state }) => state !== 'serving'),
      );
      run('add');
      const numbers = cluster
        .status()
        .processes.map(({ name }) => Number(/^storage-(\d+)$/.exec(name)?.[1] ?? 0));
      const other = Math.max(...numbers);
      const before = replicasOn(other);
      run('replace', '3', '--with', String(other), '--wait');
      expect(replicasOn(3)).toBe(0);
      expect(replicasOn(other)).toBeGreaterThanOrEqual(Math.max(before, lost));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
  run('remove', '3');
  expect(cluster.status().ready).toBe(true);
});

test('one disk of a server is drained under writes: it is empty, and the server goes on with the other one', async () => {
  const on = (disk: number): Target[] =>
    targets().filter((target) => target.node === 4 && target.disk === disk);
  expect([on(0).length > 0, on(1).length > 0, targetFolders(4, 1).length > 0]).toEqual([true, true, true]);
  const pid = cluster.pidOf('storage-4');
  const bench = verifyingBench(cluster, 8);
  expect(run('drain', '4', '--disk', '1', '--wait')).toMatch(/done$/m);
  const { operations, latencyUs } = await reportOfBench(bench);
  console.info(`drain-disk: ${JSON.stringify({ operations, longestMs: latencyUs.max / 1_000 })}`);
  expect(latencyUs.max / 1_000).toBeLessThanOrEqual(longestMsMax);
  expect(on(1)).toEqual([]);
  expect(on(0).length).toBeGreaterThan(0);
  await cluster.until('its files are gone', () => targetFolders(4, 1).length === 0);
  expect(cluster.pidOf('storage-4')).toBe(pid);
  await untilEqual(cluster);
});
