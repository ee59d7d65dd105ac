// A mount that was paused for longer than its lease (P4): others take over its file, and whatever it still wanted
// to write never lands. Its old handles fail, and it goes on under a new id.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FileSystem } from '../../fuse-client/dist/sdk/index.js';
import { RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
let other: FileSystem;
beforeAll(async () => {
  cluster = RunningCluster.start();
  other = await FileSystem.connect({ managers: [`127.0.0.1:${cluster.basePort}`] });
});
afterAll(async () => {
  await other?.stop();
  cluster.stop();
});

const sizeBytes = 8 << 20;
const blockBytes = 64 << 10;

/** Writes blocks of `a` over and over into one open file; on the first error tries the handle again, then ends. */
const writer = `
  const { openSync, writeSync, readSync, fsyncSync } = require('node:fs');
  const fd = openSync(process.argv[1], 'r+');
  const block = Buffer.alloc(${blockBytes}, 'a');
  const codeOf = (act) => { try { act(); return 'OK'; } catch (error) { return error.code; } };
  for (let at = 0; ; at = (at + ${blockBytes}) % ${sizeBytes}) {
    const code = codeOf(() => writeSync(fd, block, 0, block.length, at));
    if (code === 'OK') { if (at === 0) console.log('round'); continue; }
    const read = codeOf(() => readSync(fd, Buffer.alloc(10), 0, 10, 0));
    const write = codeOf(() => writeSync(fd, block, 0, 10, 0));
    const sync = codeOf(() => fsyncSync(fd));
    console.log(JSON.stringify({ code, read, write, sync }));
    break;
  }
`;

class Output {
  text = '';
  constructor(child: ChildProcessWithoutNullStreams) {
    child.stdout.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
    });
  }
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.text)?.[0];
      if (found !== undefined) return found;
      await sleep(20);
    }
  }
}

async function manager<T>(page: string): Promise<T> {
  const response = await fetch(`http://127.0.0.1:${cluster.basePort + 100}/${page}`);
  return (page.endsWith('.json') ? response.json() : response.text()) as Promise<T>;
}

async function idOf(pid: number): Promise<string | undefined> {
  const clients = await manager<{ id: string; pid: number }[]>('api/clients.json');
  return clients.find((client) => client.pid === pid)?.id;
}

test('a mount paused beyond its lease while it writes: its writes never land, its handles fail, it goes on', async () => {
  const path = join(cluster.mount, 'shared');
  writeFileSync(path, Buffer.alloc(sizeBytes, '0'));
  const mount = cluster.pidOf('mount');
  const before = await idOf(mount);
  expect(before).toBeDefined();
  const child = spawn(process.execPath, ['-e', writer, path]);
  const output = new Output(child);
  try {
    await output.until(/round\n/);
    process.kill(mount, 'SIGSTOP');
    try {
      while ((await idOf(mount)) !== undefined) await sleep(100);
      // The fence holds on every head: only now may others count on it.
      while (!(await manager<string>('metrics')).includes('client_fencing 0')) await sleep(50);
      const now = Buffer.alloc(sizeBytes / 2, 'b');
      await other.truncate('/shared', 0);
      await other.writeFile('/shared', now, { durable: true });
      expect((await other.readFile('/shared')).equals(now)).toBe(true);
    } finally {
      process.kill(mount, 'SIGCONT');
    }
    // What waited in the kernel and in the mount is refused; so is everything else on the old handle.
    const outcome = JSON.parse(await output.until(/\{.*\}/)) as Record<string, string>;
    expect(outcome).toEqual({ code: 'EIO', read: 'EIO', write: 'EIO', sync: 'EIO' });
    const expected = Buffer.alloc(sizeBytes / 2, 'b');
    expect(readFileSync(path).equals(expected)).toBe(true);
    expect((await other.readFile('/shared')).equals(expected)).toBe(true);
    // The same process under an id that was never used before.
    expect(cluster.pidOf('mount')).toBe(mount);
    let after: string | undefined;
    while (after === undefined) after = await idOf(mount);
    expect(after).not.toBe(before);
    writeFileSync(path, 'again');
    expect((await other.readFile('/shared')).toString()).toBe('again');
  } finally {
    child.kill('SIGKILL');
  }
});

test('a killed mount: its locks on the name are gone at once, and its unlinked file with them', async () => {
  const path = join(cluster.mount, 'held');
  writeFileSync(path, Buffer.alloc(1 << 20, 'x'));
  const child = spawn(process.execPath, ['-e', writer, path]);
  const output = new Output(child);
  try {
    await output.until(/round\n/);
    const before = await idOf(cluster.pidOf('mount'));
    cluster.kill('mount');
    const started = Date.now();
    const isThere = async (): Promise<boolean> =>
      (await manager<{ id: string }[]>('api/clients.json')).some((client) => client.id === before);
    while (await isThere()) await sleep(20);
    while (!(await manager<string>('metrics')).includes('client_fencing 0')) await sleep(20);
    // By the supervisor's report, long before the lease of 10 s.
    expect(Date.now() - started).toBeLessThan(9_000);
    await other.writeFile('/held', Buffer.from('mine'));
    expect((await other.readFile('/held')).toString()).toBe('mine');
  } finally {
    child.kill('SIGKILL');
  }
  await cluster.untilReady();
});
