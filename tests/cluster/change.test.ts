// Nodes and disks come and go under verifying load: no error at a client, nothing lost, every chain whole again, and
// nothing left where everything moved off, also when the manager dies in the middle.
import { spawn } from 'node:child_process';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  longestMsMax,
  longestMsMaxAfterManagerDeath,
  reportOfBench,
  untilEqual,
  verifyingBench,
} from '../faults/load.ts';
import { isRunning } from '../faults/machine.ts';
import { Program } from '../faults/program.ts';
import { ChangingCluster, type Target } from './changing-cluster.ts';
import { catena, catenaPath } from './running-cluster.ts';

let cluster: ChangingCluster;
beforeAll(async () => {
  cluster = await ChangingCluster.start();
});
afterAll(() => cluster?.stop());

test('a node is drained while the manager is killed in the middle, and holds nothing afterwards', async () => {
  const ids = cluster.chains().map((chain) => chain.id);
  expect(cluster.replicasOn(2)).toBe(3);
  expect(cluster.targetFolders(2)).toHaveLength(3);
  const servesOn = (node: number): number =>
    cluster.chains().filter((chain) => chain.members.some((m) => m.node === node && m.state === 'serving'))
      .length;
  await cluster.underLoad(
    'drain',
    async () => {
      // A server that hangs keeps the drain from ending: where it has a copy too, no other may go.
      const hanging = cluster.running.pidOf('storage-5');
      process.kill(hanging, 'SIGSTOP');
      try {
        await cluster.running.until('the hanging server is out', () => servesOn(5) === 0);
        expect(cluster.run('drain', '2')).toMatch(/3 replicas move off node 2/);
        expect(cluster.run('drain', '2')).toMatch(/the drain of node 2 runs already/);
        expect(cluster.refused('add', '2')).toMatch(/a drain of node 2 already runs/);
        await cluster.running.until('what can move has moved', () =>
          cluster.changes().every((change) => change.waitsFor !== null),
        );
        cluster.running.kill('manager');
        await cluster.running.until(
          'the manager is back',
          () => catena('nodes', '--dir', cluster.running.directory).status === 0,
        );
        expect(cluster.changes()).toHaveLength(1);
        expect(cluster.replicasOn(2)).toBeGreaterThan(0);
      } finally {
        process.kill(hanging, 'SIGCONT');
      }
      await cluster.running.until('the drain is done', () => cluster.changes().length === 0);
    },
    longestMsMaxAfterManagerDeath,
  );
  expect(cluster.replicasOn(2)).toBe(0);
  expect(cluster.chains().map((chain) => chain.id)).toEqual(ids);
  await cluster.running.until('its files are gone', () => cluster.targetFolders(2).length === 0);
});

test('a wiped disk is filled again by one command', async () => {
  await cluster.underLoad('replace', async () => {
    const killed = cluster.running.kill('storage-3');
    // By one rename: the server that is started again at once must not find a part of it.
    const disk = join(cluster.running.directory, 'storage-3', 'disk-0');
    renameSync(disk, `${disk}.gone`);
    rmSync(`${disk}.gone`, { recursive: true });
    await cluster.running.until('its process is back', () =>
      cluster.running
        .status()
        .processes.some((entry) => entry.name === 'storage-3' && entry.healthy && entry.pid !== killed),
    );
    cluster.run('replace', 'storage-3', '--wait');
    expect(cluster.changes()).toEqual([]);
    for (const chain of cluster.chains())
      expect(chain.members.every((member) => member.state === 'serving')).toBe(true);
  });
  expect(cluster.replicasOn(3)).toBeGreaterThan(0);
  expect(cluster.targetFolders(3)).toHaveLength(cluster.replicasOn(3));
});

interface Described {
  name: string;
  disks?: number;
  isDiskPending?: true;
}

function described(name: string): Described {
  const text = readFileSync(join(cluster.running.directory, 'cluster.json'), 'utf8');
  const { processes } = JSON.parse(text) as { processes: Described[] };
  return processes.find((process) => process.name === name)!;
}

/** As if it had been killed before it wrote what it did into the description of the cluster. */
function unwritten(order: () => void): void {
  const path = join(cluster.running.directory, 'cluster.json');
  const before = readFileSync(path);
  order();
  writeFileSync(path, before);
}

async function killedWhen(isTime: () => boolean, words: string[]): Promise<void> {
  const child = spawn(catenaPath, [...words, '--dir', cluster.running.directory], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  while (!isTime() && child.exitCode === null) await sleep(1);
  expect(child.kill('SIGKILL')).toBe(true);
  await ended;
}

/** The server of the new disk has just ended, and is started again. */
async function addedWhileItStarts(): Promise<void> {
  const supervisor = cluster.running.supervisorPid();
  process.kill(supervisor, 'SIGSTOP');
  let added: Program;
  try {
    const pid = cluster.running.pidOf('storage-4');
    process.kill(pid, 'SIGKILL');
    await cluster.running.until('the server is gone', () => !isRunning(pid));
    const words = ['add', '4', '--disk', '--wait', '--dir', cluster.running.directory];
    added = new Program('add', [catenaPath, ...words]);
    await sleep(1_000);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  const { code, stdout, stderr } = await added.ended;
  expect(code, stdout + stderr).toBe(0);
}

test('a new server gets its share, a disk more of another one too, and the drained one is removed', async () => {
  await cluster.underLoad('add', async () => {
    expect(cluster.refused('remove', '3')).toMatch(/node 3 holds \d+ replicas; first: catena drain 3/);
    // Each is interrupted once the manager has the order, or before it has it, and given again.
    unwritten(() => cluster.run('remove', '2'));
    expect(cluster.run('remove', '2')).toMatch(/node 2 is forgotten/);
    unwritten(() => cluster.run('add'));
    // What was ordered before may be done by now.
    expect(cluster.run('add', '--wait')).toMatch(/the balancing of node 2 runs already|node 2 is open/);
    await killedWhen(() => described('storage-4').isDiskPending === true, ['add', '4', '--disk']);
    await addedWhileItStarts();
  });
  expect(described('storage-4').disks).toBe(2);
  expect(described('storage-4').isDiskPending).toBeUndefined();
  // Its number was free again: the new one is node 2, on an empty folder.
  expect(cluster.replicasOn(2)).toBeGreaterThanOrEqual(2);
  const loads = [1, 2, 3, 4, 5].map((node) => cluster.replicasOn(node));
  expect(loads.reduce((sum, replicas) => sum + replicas, 0)).toBe(15);
  expect(
    cluster.chains().some((chain) => chain.members.some((member) => member.node === 4 && member.disk === 1)),
  ).toBe(true);
  expect(cluster.running.status().ready).toBe(true);
});

test('what cannot be done is refused in one line, and nothing changes', () => {
  const before = cluster.chains();
  expect(cluster.refused('drain', '9')).toMatch(/there is no storage node 9; there are/);
  expect(cluster.refused('drain', 'x')).toMatch(/"x" names no storage node/);
  expect(cluster.refused('drain', '2', '--disk', '7')).toMatch(/node 2 has 1 disks/);
  expect(cluster.refused('drain', '2', '--abort')).toMatch(/no change of node 2 runs/);
  expect(cluster.refused('remove', '8')).toMatch(/no storage server 8 on this machine/);
  expect(cluster.run('replace', '3')).toMatch(/no replica on node 3 is missing/);
  expect(cluster.chains()).toEqual(before);
});

test('a server that hangs for good is replaced by another one', async () => {
  const lost = cluster.replicasOn(3);
  expect(lost).toBeGreaterThan(0);
  const pid = cluster.running.pidOf('storage-3');
  await cluster.underLoad('replace-with', async () => {
    process.kill(pid, 'SIGSTOP');
    try {
      await cluster.running.until('it is out', () =>
        cluster
          .targets()
          .filter(({ node }) => node === 3)
          .every(({ state }) => state !== 'serving'),
      );
      cluster.run('add');
      const numbers = cluster.running
        .status()
        .processes.map(({ name }) => Number(/^storage-(\d+)$/.exec(name)?.[1] ?? 0));
      const other = Math.max(...numbers);
      const before = cluster.replicasOn(other);
      cluster.run('replace', '3', '--with', String(other), '--wait');
      expect(cluster.replicasOn(3)).toBe(0);
      expect(cluster.replicasOn(other)).toBeGreaterThanOrEqual(Math.max(before, lost));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
  cluster.run('remove', '3');
  expect(cluster.running.status().ready).toBe(true);
});

test('one disk of a server is drained under writes: it is empty, and the server goes on with the other one', async () => {
  const on = (disk: number): Target[] =>
    cluster.targets().filter((target) => target.node === 4 && target.disk === disk);
  expect([on(0).length > 0, on(1).length > 0, cluster.targetFolders(4, 1).length > 0]).toEqual([
    true,
    true,
    true,
  ]);
  const pid = cluster.running.pidOf('storage-4');
  const bench = verifyingBench(cluster.running, 8);
  expect(cluster.run('drain', '4', '--disk', '1', '--wait')).toMatch(/done$/m);
  const { operations, latencyUs } = await reportOfBench(bench);
  console.info(`drain-disk: ${JSON.stringify({ operations, longestMs: latencyUs.max / 1_000 })}`);
  expect(latencyUs.max / 1_000).toBeLessThanOrEqual(longestMsMax);
  expect(on(1)).toEqual([]);
  expect(on(0).length).toBeGreaterThan(0);
  await cluster.running.until('its files are gone', () => cluster.targetFolders(4, 1).length === 0);
  expect(cluster.running.pidOf('storage-4')).toBe(pid);
  await untilEqual(cluster.running);
});
