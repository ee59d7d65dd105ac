import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
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
