// kill -9 of each process in turn under load: every byte that was acknowledged is there afterwards, no client
// saw an error while a complete copy lived, and the copies are equal again.

import { mkdirSync, writeFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

/** Longest operation that a kill may cause, on a busy machine. That no lease was waited for, the manager's log shows. */
const stallMsMax = 10_000;

/** P1: a killed server whose supervisor lives is out of its chains within a second. */
const leaveMsMax = 1_000;
/** How long each took. */
const leaveMs: number[] = [];

const sizeOf = (seed: number): number => (seed * 7919) % 700_000;

/** Writes files with fsync until told to stop; remembers which were acknowledged, and reads some of them again meanwhile. */
class Writer {
  readonly folder: string;
  readonly acknowledged: number[] = [];
  readonly errors: string[] = [];
  longestMs = 0;
  #stop = false;
  readonly #done: Promise<void>[];

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    // The third lane does not fsync: what write(2) acknowledged must survive the death of a process as well (P11).
    this.#done = [0, 1, 2].map((lane) => this.#write(lane, lane < 2));
  }

  /** Until it has so many files, or an error says that it will not. */
  async goesOnBeyond(files: number): Promise<void> {
    while (this.acknowledged.length <= files && this.errors.length === 0) await sleep(50);
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await Promise.all(this.#done);
  }

  async #write(lane: number, fsync: boolean): Promise<void> {
    for (let round = 0; !this.#stop; round++) {
      const seed = round * 3 + lane + 1;
      const started = Date.now();
      try {
        await this.#writeFile(seed, fsync);
        this.acknowledged.push(seed);
        const again = this.acknowledged[(seed * 31) % this.acknowledged.length] ?? seed;
        const got = await readFile(join(this.folder, `f${again}`));
        if (!got.equals(contentOf(again, sizeOf(again)))) this.errors.push(`f${again}: wrong bytes`);
      } catch (error) {
        this.errors.push(String(error));
        await sleep(100);
      }
      this.longestMs = Math.max(this.longestMs, Date.now() - started);
    }
  }

  async #writeFile(seed: number, fsync: boolean): Promise<void> {
    const file = await open(join(this.folder, `f${seed}`), 'w');
    try {
      await file.write(contentOf(seed, sizeOf(seed)));
      if (fsync) await file.sync();
    } finally {
      // Also after an error: a handle left to the garbage collector on a dead mount would end the whole run.
      await file.close();
    }
  }

  /** Files that are not what was acknowledged. */
  async lost(): Promise<string[]> {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    const lost: string[] = [];
    for (const seed of this.acknowledged) {
      const got = await readFile(join(this.folder, `f${seed}`)).catch((error: unknown) => String(error));
      if (typeof got === 'string') lost.push(got);
      else if (!got.equals(contentOf(seed, sizeOf(seed)))) lost.push(`f${seed}: wrong bytes`);
    }
    return lost;
  }
}

/** Of the manager's log: what it did about the end of a server until that server's next process was there. */
function afterExitOf(
  name: string,
  pid: number,
): { chainsChanged: unknown[]; lastChangeAtMs: number; registeredAgain: boolean } {
  const events = cluster.events('manager');
  const exit = events.findIndex(
    (line) => line.event === 'node.exit' && line.pid === pid && line.news === true,
  );
  if (exit < 0) throw new Error(`the end of ${name}, process ${pid}, was no news of the manager`);
  const later = events.slice(exit);
  const again = later.findIndex((line) => line.event === 'node.registration' && line.node === name);
  const between = later.slice(0, again < 0 ? undefined : again);
  const changes = between.filter((line) => line.event === 'chain.change');
  return {
    chainsChanged: changes.map((line) => line.chain).sort(),
    lastChangeAtMs: Math.max(...changes.map((line) => Date.parse(String(line.time)))),
    registeredAgain: again >= 0,
  };
}

test.each([
  { killed: ['storage-1'] },
  { killed: ['storage-2'] },
  { killed: ['storage-3'] },
  { killed: ['meta'] },
  { killed: ['manager', 'storage-2'] },
])('$killed killed under load: no error, nothing lost, copies equal again', async ({ killed }) => {
  const writer = new Writer(join(cluster.mount, `load-${killed.join('-')}`));
  await sleep(1_000);
  const pids = new Map(killed.map((name) => [name, cluster.pidOf(name)]));
  const killedAtMs = Date.now();
  for (const pid of pids.values()) process.kill(pid, 'SIGKILL');
  const before = writer.acknowledged.length;
  await sleep(4_000);
  await writer.goesOnBeyond(before + 20);
  await writer.stop();
  await cluster.untilReady();
  for (const [name, pid] of pids) expect(cluster.pidOf(name)).not.toBe(pid);
  expect(writer.errors).toEqual([]);
  console.info(`${killed}: ${writer.acknowledged.length} files, longest operation ${writer.longestMs} ms`);
  expect(writer.longestMs).toBeLessThan(stallMsMax);
  for (const name of killed.filter((each) => each.startsWith('storage'))) {
    const pid = pids.get(name) ?? 0;
    expect(confirmations(pid), `reports of the end of ${name}`).toHaveLength(1);
    // The server is back long before its lease has run out: every chain went on without it before, for the
    // report's sake alone. A manager that was away as well may have heard of both at once.
    if (killed.includes('manager')) continue;
    const { lastChangeAtMs, ...after } = afterExitOf(name, pid);
    expect(after).toEqual({ chainsChanged: [1, 2, 3, 4], registeredAgain: true });
    leaveMs.push(lastChangeAtMs - killedAtMs);
  }
  if (killed.includes('manager')) expectRepeatedReport(pids.get('storage-2') ?? 0);
  const verified = catena('verify', '--dir', cluster.directory);
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  expect(await writer.lost()).toEqual([]);
});

test('the killed servers were out of their chains in time', () => {
  console.info(`out of all chains after ${leaveMs.join(', ')} ms`);
  expect(leaveMs).toHaveLength(3);
  // The fastest: a machine that is busy delays the others, and none comes near the end of a lease by chance.
  expect(Math.min(...leaveMs)).toBeLessThanOrEqual(leaveMsMax);
});

/** Where the supervisor's log says that a manager has heard of the end of that process. */
function confirmations(pid: number): number[] {
  return cluster
    .events('supervisor')
    .flatMap((line, index) => (line.event === 'exit.confirmed' && line.pid === pid ? [index] : []));
}

/** The manager was dead when the server was: only its next process can have confirmed the report (P28). */
function expectRepeatedReport(pid: number): void {
  const events = cluster.events('supervisor');
  const started = events.findLastIndex(
    (line) => line.event === 'process.started' && line.process === 'manager',
  );
  expect(confirmations(pid)[0]).toBeGreaterThan(started);
  const manager = cluster.events('manager');
  const begun = manager.findLastIndex((line) => line.event === 'node.exit' && line.pid === pid);
  expect(begun, 'the manager that came back heard the report').toBeGreaterThan(-1);
}

test('the mount killed under load: errors while it is away, nothing acknowledged lost', async () => {
  const writer = new Writer(join(cluster.mount, 'load-mount'));
  await sleep(1_000);
  cluster.kill('mount');
  await sleep(3_000);
  await writer.stop();
  await cluster.untilReady();
  expect(writer.errors.length).toBeGreaterThan(0);
  expect(writer.acknowledged.length).toBeGreaterThan(20);
  for (const error of writer.errors) expect(error).toMatch(/ENOTCONN|ECONNABORTED|EIO|ENOENT|ENODEV/);
  expect(await writer.lost()).toEqual([]);
  expect(catena('verify', '--dir', cluster.directory).status).toBe(0);
});

test('two of three storage servers killed at once: service goes on with the last copy', async () => {
  const writer = new Writer(join(cluster.mount, 'load-two'));
  await sleep(1_000);
  const pids = [cluster.pidOf('storage-1'), cluster.pidOf('storage-3')];
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await sleep(4_000);
  await writer.stop();
  await cluster.untilReady();
  expect(writer.errors).toEqual([]);
  expect(await writer.lost()).toEqual([]);
  expect(catena('verify', '--dir', cluster.directory).status).toBe(0);
});
