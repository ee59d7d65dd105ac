import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bootMsFromProc, realClock, sleep } from '../clock.ts';
import * as message from '../messages.ts';
import { Etcd, type EtcdCondition, openEtcdStore } from './etcd.ts';

import { keyValueStoreSuite } from './key-value-store.suite.ts';
import { openLmdbStore } from './lmdb.ts';
import { MemoryStoreMedium, openMemoryStore } from './memory.ts';

// In memory where there is such a place: these tests are about bytes, and sync to the medium thousands of
// times.
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'catena-kv-'));
afterAll(() => rmSync(root, { recursive: true }));
let directories = 0;

describe('in memory', () => {
  keyValueStoreSuite(() => {
    const medium = new MemoryStoreMedium();
    return { open: async () => openMemoryStore(medium) };
  });

  test('the loss of power takes what was not flushed', async () => {
    const medium = new MemoryStoreMedium();
    const store = openMemoryStore(medium);
    await store.write([{ key: Buffer.from('a'), value: Buffer.from('1') }], 1n);
    await store.flush();
    await store.write([{ key: Buffer.from('a') }], 2n);
    medium.losePower();
    const next = openMemoryStore(medium);
    expect(next.position).toBe(1n);
    expect(next.get(Buffer.from('a'))?.toString()).toBe('1');
  });
});

describe('in LMDB', () => {
  keyValueStoreSuite(() => {
    const directory = join(root, `store-${directories++}`);
    return { open: () => openLmdbStore(directory) };
  });

  // A process that writes pairs which belong together, says each position that resolved, and is killed while
  // it writes.
  test('kill -9 at any moment: everything said is there, and no half of a write', {
    timeout: 60_000,
  }, async () => {
    const lmdb = createRequire(import.meta.url).resolve('lmdb');
    for (let round = 0; round < 4; round++) {
      const directory = join(root, `killed-${round}`);
      const said = await writeUntilKilled(directory, lmdb, 20 + round * 40);
      const store = await openLmdbStore(directory);
      expect(store.position).toBeGreaterThanOrEqual(said);
      const value = store.get(Buffer.from('left'))?.toString();
      expect(store.get(Buffer.from('right'))?.toString()).toBe(value);
      expect(value ?? '0').toBe(store.position.toString());
      await store.close();
    }
  });
});

// The same options and records as lmdb.ts, in plain JavaScript because Node runs no TypeScript.
const writer = `
  const { open } = require(process.argv[1]);
  const binary = { encoding: 'binary', keyEncoding: 'binary' };
  const db = open({ path: process.argv[2], noSubdir: false, ...binary, overlappingSync: false, cache: false });
  const number = (value) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(BigInt(value)); return bytes; };
  const user = (key) => Buffer.concat([Buffer.from([1]), Buffer.from(key)]);
  (async () => {
    await db.put(Buffer.from([0, 0]), number(1));
    for (let position = 1; ; position++) {
      await db.batch(() => {
        db.put(user('left'), Buffer.from(String(position)));
        db.put(user('filler' + (position % 50)), Buffer.alloc(2000, position));
        db.put(user('right'), Buffer.from(String(position)));
        db.put(Buffer.from([0, 1]), number(position));
      });
      process.stdout.write(position + '\\n');
    }
  })();
`;

function writeUntilKilled(directory: string, lmdb: string, lines: number): Promise<bigint> {
  const child = spawn(process.execPath, ['-e', writer, lmdb, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((resolve) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.split('\n').length > lines) child.kill('SIGKILL');
    });
    child.on('close', () => resolve(BigInt(text.split('\n').slice(0, -1).at(-1) ?? '0')));
  });
}

// Of Debian's package etcd-server, which scripts/prerequisites.sh installs.
describe('in etcd', () => {
  const clock = realClock(bootMsFromProc);
  const port = 32_000 + (process.pid % 900);
  const url = `http://127.0.0.1:${port}`;
  let server: ChildProcess;
  let etcd: Etcd;
  let prefixes = 0;

  function start(): ChildProcess {
    const peer = `http://127.0.0.1:${port + 1000}`;
    const options = [
      ['--data-dir', join(root, 'etcd')],
      ['--listen-client-urls', url],
      ['--advertise-client-urls', url],
      ['--listen-peer-urls', peer],
      ['--initial-advertise-peer-urls', peer],
      ['--initial-cluster', `default=${peer}`],
    ];
    return spawn('etcd', options.flat(), { stdio: 'ignore' });
  }
  beforeAll(async () => {
    server = start();
    etcd = await Etcd.open([url], clock);
    for (;;) {
      if (
        await etcd.get(Buffer.from('there')).then(
          () => true,
          () => false,
        )
      )
        return;
      await sleep(clock, 50);
    }
  }, 60_000);
  afterAll(() => {
    etcd?.close();
    server?.kill('SIGKILL');
  });

  keyValueStoreSuite(() => {
    const prefix = `store-${prefixes++}`;
    return { open: () => openEtcdStore(etcd, { prefix, clock }) };
  });

  const change = (text: string) => ({ key: Buffer.from('k'), value: Buffer.from(text) });
  const role = Buffer.from('role');
  const take = async (): Promise<EtcdCondition> => {
    const before = (await etcd.get(role))?.revision ?? 0n;
    expect(
      await etcd.write([{ key: role, revision: before }], [{ key: role, value: Buffer.from('me') }]),
    ).toBe(true);
    return { key: role, revision: (await etcd.get(role))!.revision };
  };

  test('who was deposed writes nothing, small or large, and the new owner reads what was written before', async () => {
    const old = await openEtcdStore(etcd, { prefix: 'fenced', clock, fence: await take() });
    await old.write([change('old')], 1n);
    const fence = await take();
    await expect(old.write([change('late')], 2n)).rejects.toMatchObject({ code: 'NOT_PRIMARY' });
    const next = await openEtcdStore(etcd, { prefix: 'fenced', clock, fence });
    expect([next.get(Buffer.from('k'))?.toString(), next.position]).toEqual(['old', 1n]);
    const many = Array.from({ length: 300 }, (_, index) => ({
      key: Buffer.from(`m${index}`),
      value: Buffer.alloc(9),
    }));
    await take();
    await expect(next.write(many, 2n)).rejects.toMatchObject({ code: 'NOT_PRIMARY' });
    const last = await openEtcdStore(etcd, { prefix: 'fenced', clock });
    expect([last.position, [...last.range({ from: Buffer.from('l'), to: Buffer.from('n') })]]).toEqual([
      1n,
      [],
    ]);
  });

  test('a large write that was decided and not carried out is there for the next owner; one that was not, is not', async () => {
    const put = (name: string, value: Uint8Array) =>
      etcd.write([], [{ key: Buffer.from(`cut/${name}`), value }]);
    const changes = [
      { ...change('staged'), key: Buffer.from('cut/key/k') },
      { key: Buffer.from('cut/key/gone') },
    ];
    const staged = message.LogRecord.fromPartial({ changes });
    const store = await openEtcdStore(etcd, { prefix: 'cut', clock });
    await store.write([change('before'), { key: Buffer.from('gone'), value: Buffer.from('x') }], 1n);
    await put('staged/00000000', message.LogRecord.encode(staged).finish());
    const undecided = await openEtcdStore(etcd, { prefix: 'cut', clock });
    expect([undecided.position, undecided.get(Buffer.from('k'))?.toString()]).toEqual([1n, 'before']);
    const position = Buffer.alloc(8);
    position.writeBigUInt64BE(2n);
    await put('decided', position);
    const next = await openEtcdStore(etcd, { prefix: 'cut', clock });
    expect([next.position, next.get(Buffer.from('k'))?.toString()]).toEqual([2n, 'staged']);
    expect(next.get(Buffer.from('gone'))).toBeUndefined();
    expect(await etcd.list(Buffer.from('cut/staged/'))).toEqual([]);
    await next.write([change('after')], 3n);
    expect((await openEtcdStore(etcd, { prefix: 'cut', clock })).get(Buffer.from('k'))?.toString()).toBe(
      'after',
    );
  });

  test('a write meets a dead etcd, waits for it, and happens once; a lease ends unless it is kept alive', async () => {
    const store = await openEtcdStore(etcd, { prefix: 'outage', clock });
    await store.write([change('1')], 1n);
    server.kill('SIGKILL');
    const writes = [store.write([change('2')], 2n), store.write([change('3')], 3n)];
    await sleep(clock, 300);
    expect(store.position).toBe(1n);
    server = start();
    await Promise.all(writes);
    expect((await openEtcdStore(etcd, { prefix: 'outage', clock })).get(Buffer.from('k'))?.toString()).toBe(
      '3',
    );
    const { id, ttlSeconds } = await etcd.grantLease(2);
    expect(await etcd.keepAlive(id)).toBe(ttlSeconds);
    await etcd.write([], [{ key: Buffer.from('leased'), value: Buffer.from('x'), lease: id }]);
    await etcd.revokeLease(id);
    expect(await etcd.get(Buffer.from('leased'))).toBeUndefined();
    expect(await etcd.keepAlive(id)).toBe(0);
  });
});
