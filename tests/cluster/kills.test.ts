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

/** Longest operation that a kill may cause. Without the supervisor's exit report a chain would wait 5.3 s for a lease. */
const stallMsMax = 10_000;

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

test.each(['storage-1', 'storage-2', 'storage-3', 'meta', 'manager'])(
  '%s killed under load: no error, nothing lost, copies equal again',
  async (name) => {
    const writer = new Writer(join(cluster.mount, `load-${name}`));
    await sleep(1_000);
    const killed = cluster.kill(name);
    await sleep(4_000);
    await writer.stop();
    await cluster.untilReady();
    expect(cluster.pidOf(name)).not.toBe(killed);
    expect(writer.errors).toEqual([]);
    expect(writer.acknowledged.length).toBeGreaterThan(20);
    console.info(`${name}: ${writer.acknowledged.length} files, longest operation ${writer.longestMs} ms`);
    expect(writer.longestMs).toBeLessThan(stallMsMax);
    const verified = catena('verify', '--dir', cluster.directory);
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
    expect(await writer.lost()).toEqual([]);
  },
);

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
