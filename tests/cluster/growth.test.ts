// A cluster of three servers gets a fourth one and new chains under load: no error at a client, also while the manager
// dies in the middle; every file, made before, during or after, reads equal in every client, and so do all copies.
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bootMsFromProc, message, RpcClient, realClock, rpcs } from '../../core/dist/index.js';
import { FileSystem } from '../../fuse-client/dist/sdk/index.js';
import { ExtraMount } from '../faults/extra-mount.ts';
import { longestMsMaxAfterManagerDeath, reportOfBench, verifyingBench } from '../faults/load.ts';
import { Program } from '../faults/program.ts';
import { contentOf } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
/** Clients that are there before the growth. */
let mount: ExtraMount;
let sdk: FileSystem;
const undo: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  cluster = RunningCluster.prepare();
  undo.push(() => cluster.remove());
  cluster.up('--targets-per-disk', '6');
  undo.push(() => cluster.down());
  mount = await ExtraMount.start(cluster, 1);
  undo.push(() => mount.stop());
  sdk = await FileSystem.connect({ managers: [`127.0.0.1:${cluster.basePort}`] });
  undo.push(() => sdk.stop());
});
afterAll(async () => {
  for (const step of undo.reverse()) await step();
});

interface Chain {
  id: number;
  sinceTableVersion: number | null;
  members: { target: string; node: number; state: string }[];
}
interface Target {
  target: string;
  chain: number;
  node: number;
  usedBytes: string | null;
}

function run(...parameters: string[]): string {
  const done = catena(...parameters, '--dir', cluster.directory);
  expect(done.status, done.stdout + done.stderr + cluster.logs()).toBe(0);
  return done.stdout;
}

async function newChains(): Promise<Chain[]> {
  const chains = (await cluster.page<Chain[]>('chains')) ?? [];
  return chains.filter((chain) => chain.sinceTableVersion !== 1);
}

/** Of the chains that the growth made. */
async function bytesInNewChains(): Promise<number> {
  const ids = (await newChains()).map((chain) => chain.id);
  const targets = (await cluster.page<Target[]>('targets')) ?? [];
  return targets
    .filter(({ chain }) => ids.includes(chain))
    .reduce((sum, { usedBytes }) => sum + Number(usedBytes ?? 0), 0);
}

function lengthOf(seed: number): number {
  return (seed * 1_234_567) % 3_000_000;
}

/** Writes files one after another, fsyncs and compares each; one JSON line for each, until its input ends. */
const script = `
  const { closeSync, fsyncSync, openSync, readFileSync, writeSync } = require('node:fs');
  let isOver = false;
  process.stdin.on('end', () => (isOver = true)).resume();
  ${contentOf.toString()}
  ${lengthOf.toString()}
  (async () => {
    for (let seed = 1; !isOver; seed++) {
      const started = Date.now();
      const content = contentOf(seed, lengthOf(seed));
      const path = process.argv[1] + '/' + seed;
      let error;
      try {
        const file = openSync(path, 'wx');
        for (let done = 0; done < content.length; ) {
          done += writeSync(file, content, done, Math.min(1 << 19, content.length - done));
        }
        fsyncSync(file);
        closeSync(file);
        if (!readFileSync(path).equals(content)) error = path + ': wrong bytes';
      } catch (thrown) {
        error = String(thrown);
      }
      console.log(JSON.stringify({ error, bytes: content.length, ms: Date.now() - started }));
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
  })();
`;

interface Written {
  error?: string;
  ms: number;
}

/** A verifying writer of new files and one that overwrites blocks of old ones; in processes of their own. */
class Writers {
  readonly #files: Program;
  readonly #bench: Program;

  constructor(folder: string, seconds: number) {
    this.#files = new Program('files', [process.execPath, '-e', script, folder]);
    this.#bench = verifyingBench(cluster, seconds);
  }

  get written(): number {
    return this.#files.said.split('\n').filter((line) => line.startsWith('{"')).length;
  }

  get said(): string {
    return `${this.#files.said.slice(-1_000)}\n${this.#bench.said.slice(-1_000)}`;
  }

  /** No error, no wrong byte, and no operation that took too long; returns the number of files. */
  async judge(): Promise<number> {
    this.#files.endInput();
    const files = await this.#files.ended;
    const lines = files.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Written);
    expect(lines.filter(({ error }) => error !== undefined)).toEqual([]);
    expect(files.code, files.stderr).toBe(0);
    const { latencyUs } = await reportOfBench(this.#bench);
    const longestMs = Math.max(latencyUs.max / 1_000, ...lines.map(({ ms }) => ms));
    console.info(`growth: ${lines.length} files, longest operation ${Math.round(longestMs)} ms`);
    expect(longestMs).toBeLessThanOrEqual(longestMsMaxAfterManagerDeath);
    return lines.length;
  }

  async kill(): Promise<void> {
    for (const program of [this.#files, this.#bench]) {
      program.signal('SIGKILL');
      await program.ended;
    }
  }
}

/** In mounts that were there before the growth, with caches and without, and in the SDK. */
async function expectEqual(path: string, content: Buffer): Promise<void> {
  for (const root of [cluster.mount, mount.path]) {
    expect(readFileSync(join(root, path)).equals(content), `${root}/${path}`).toBe(true);
  }
  expect((await sdk.readFile(`/${path}`)).equals(content), `/${path} by the SDK`).toBe(true);
}

/** As `catena grow`, but at once: a program needs a moment to start. */
async function orderGrowth(): Promise<string> {
  const client = await RpcClient.connect(`127.0.0.1:${cluster.basePort}`, {
    clock: realClock(bootMsFromProc),
  });
  try {
    const action = message.ChangeAction.ACTION_GROW;
    return (await client.call(rpcs.change, { action })).detail;
  } finally {
    await client.close();
  }
}

/**
 * A server hangs for a moment in which new chains are made, so that they cannot serve and the manager dies before they
 * are in the table. All that within the server's lease, or it would be waited for.
 */
async function growWhileTheManagerDies(): Promise<void> {
  const [server, manager] = [cluster.pidOf('storage-4'), cluster.pidOf('manager')];
  process.kill(server, 'SIGSTOP');
  try {
    expect(await orderGrowth()).toBe('the chain table grows by 2 new chains beside 6');
    await cluster.until('the new chains are made', async () => (await newChains()).length === 2);
    process.kill(manager, 'SIGKILL');
    await cluster.until('the next manager decides', async () => (await newChains()).length === 2);
    // It knows them, and they are in no table yet.
    expect((await newChains()).map((chain) => chain.sinceTableVersion)).toEqual([null, null]);
  } finally {
    process.kill(server, 'SIGCONT');
  }
  run('grow', '--wait');
}

test('a fourth server and new chains under load; the manager dies while they are made', async () => {
  const folder = join(cluster.mount, 'files');
  mkdirSync(folder);
  expect(run('grow')).toMatch(
    /^nothing to grow: 3 disks with 6 targets each carry no more than the 6 chains of 3/,
  );
  const writers = new Writers(folder, 8);
  let before: number;
  try {
    await cluster.until('some files', () => writers.written > 5);
    expect(run('add', '--wait')).toMatch(/^done\n2 more chains are possible: catena grow$/m);
    before = writers.written;
    await growWhileTheManagerDies();
    expect((await newChains()).map((chain) => chain.sinceTableVersion)).toEqual([2, 2]);
    const isNew = (member: { node: number }): boolean => member.node === 4;
    expect((await newChains()).some((chain) => chain.members.some(isNew))).toBe(true);
    const during = writers.written;
    await cluster.until('files of the new version', () => writers.written > during + 12);
  } catch (error) {
    console.error(writers.said);
    await writers.kill();
    throw error;
  }
  const files = await writers.judge();
  expect(before).toBeGreaterThan(5);
  await cluster.until(
    'the servers report what new files have put into the new chains',
    async () => (await bytesInNewChains()) > 0,
  );
  for (let seed = 1; seed <= files; seed++)
    await expectEqual(`files/${seed}`, contentOf(seed, lengthOf(seed)));
  const late = await ExtraMount.start(cluster, 2);
  undo.push(() => late.stop());
  for (const seed of [1, before, files]) {
    const content = contentOf(seed, lengthOf(seed));
    expect(readFileSync(join(late.path, `files/${seed}`)).equals(content)).toBe(true);
  }
  await cluster.untilReady();
  expect(run('verify')).toMatch(/in 8 chains: all copies are equal/);
  expect(run('chains')).toMatch(/^table 1: version 2, 8 chains, 6 of them since version 1 or earlier$/m);
});

test('old and new files are overwritten, cut and removed, and their chains move, as if nothing had grown', async () => {
  const [old, young] = ['files/1', 'young'];
  const contents = new Map([
    [old, contentOf(1, lengthOf(1))],
    [young, contentOf(77, 9_000_000)],
  ]);
  await sdk.writeFile(`/${young}`, contents.get(young)!);
  for (const [path, content] of contents) {
    const piece = contentOf(5, 700_000);
    const file = openSync(join(mount.path, path), 'r+');
    for (let done = 0; done < piece.length; )
      done += writeSync(file, piece, done, piece.length - done, 400_000 + done);
    closeSync(file);
    content.set(piece, 400_000);
    await expectEqual(path, content);
    truncateSync(join(mount.path, path), 1_050_000);
    contents.set(path, content.subarray(0, 1_050_000));
    await expectEqual(path, contents.get(path)!);
  }
  run('drain', '4', '--wait');
  const held = (await cluster.page<Target[]>('targets'))!;
  expect([held.length, held.filter((target) => target.node === 4)]).toEqual([24, []]);
  for (const [path, content] of contents) await expectEqual(path, content);
  expect(run('grow')).toMatch(/^nothing to grow/);
  expect(run('verify')).toMatch(/in 8 chains: all copies are equal/);
  rmSync(join(mount.path, young));
  writeFileSync(join(cluster.mount, young), 'again');
  await expectEqual(young, Buffer.from('again'));
});
