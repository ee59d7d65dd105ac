// The Node SDK on a cluster without a mount, and beside one: the same files either way.
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FileSystem } from '../../fuse-client/dist/sdk/index.js';
import { RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
let fs: FileSystem;

beforeAll(async () => {
  cluster = RunningCluster.start();
  fs = await FileSystem.connect({ managers: [`127.0.0.1:${cluster.basePort}`] });
});
afterAll(async () => {
  await fs?.stop();
  cluster.stop();
});

test('what the SDK writes the mount reads, and the other way round', async () => {
  const data = randomBytes(5_000_000);
  await fs.makeDirectory('/sdk/deep/down', { recursive: true });
  await fs.makeDirectory('/sdk/deep/down', { recursive: true });
  await fs.writeFile('/sdk/deep/down/data', data);
  expect(readFileSync(join(cluster.mount, 'sdk/deep/down/data')).equals(data)).toBe(true);
  writeFileSync(join(cluster.mount, 'sdk/other'), data.subarray(7));
  expect((await fs.readFile('/sdk/other')).equals(data.subarray(7))).toBe(true);
  expect(await fs.stat('/sdk/other')).toMatchObject({ kind: 'file', size: 4_999_993n, links: 1 });
});

test('files copied in and out are equal, also empty ones and odd lengths', async () => {
  const local = join(cluster.directory, 'local');
  const back = join(cluster.directory, 'back');
  for (const length of [0, 1, (1 << 20) - 1, 1 << 20, 3 * (1 << 20) + 17, 40_000_003]) {
    const data = randomBytes(length);
    writeFileSync(local, data);
    expect(await fs.copyIn(local, '/copied', { durable: true })).toBe(length);
    expect((await fs.stat('/copied')).size).toBe(BigInt(length));
    expect(await fs.copyOut('/copied', back)).toBe(length);
    expect(readFileSync(back).equals(data)).toBe(true);
  }
  rmSync(local);
  await expect(fs.copyIn(local, '/copied')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('handles read and write anywhere; overlapping writes keep their order', async () => {
  await using file = await fs.open('/handle', 'w+');
  const expected = Buffer.alloc(200_000);
  const writes: Promise<void>[] = [];
  for (let number = 1; number <= 100; number++) {
    const position = (number * 7919) % 150_000;
    const piece = Buffer.alloc(50_000, number);
    expected.set(piece, position);
    writes.push(file.write(position, piece));
  }
  await Promise.all(writes);
  await file.fsync();
  const { size } = await file.stat();
  const whole = await file.read(0, 1 << 20);
  expect(whole.length).toBe(Number(size));
  expect(whole.equals(expected.subarray(0, whole.length))).toBe(true);
  expect(await file.read(size, 10)).toHaveLength(0);
  expect((await file.read(size - 5n, 10)).length).toBe(5);
});

test('names: links, lists, renames, truncation, removal', async () => {
  await fs.makeDirectory('/names');
  await fs.writeFile('/names/a', 'first');
  await fs.symlink('a', '/names/link');
  await fs.writeFile('/names/link', 'through');
  expect((await fs.readFile('/names/a')).toString()).toBe('through');
  expect(await fs.readLink('/names/link')).toBe('a');
  expect((await fs.statLink('/names/link')).kind).toBe('symlink');
  await fs.truncate('/names/a', 3);
  await fs.truncate('/names/a', 6);
  expect((await fs.readFile('/names/a')).toString()).toBe('thr\0\0\0');
  await fs.setPermissions('/names/a', 0o640);
  expect((await fs.stat('/names/a')).mode).toBe(0o640);
  await fs.rename('/names/a', '/names/b');
  expect(await fs.exists('/names/link')).toBe(false);
  const names = Array.from({ length: 1_500 }, (_, index) => `many-${String(index).padStart(4, '0')}`);
  for (let start = 0; start < names.length; start += 100) {
    await Promise.all(names.slice(start, start + 100).map((name) => fs.writeFile(`/names/${name}`, '')));
  }
  expect((await fs.list('/names')).map((entry) => entry.name)).toEqual(['b', 'link', ...names]);
  await expect(fs.remove('/names')).rejects.toMatchObject({ code: 'NOT_EMPTY' });
  await fs.remove('/names', { recursive: true });
  await fs.remove('/names', { recursive: true, force: true });
  await expect(fs.remove('/names')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('errors have the code, the errno and where', async () => {
  await fs.writeFile('/plain', 'x');
  await expect(fs.readFile('/absent')).rejects.toMatchObject({ code: 'NOT_FOUND', errno: 'ENOENT' });
  await expect(fs.open('/plain', 'wx')).rejects.toMatchObject({ code: 'EXISTS', errno: 'EEXIST' });
  await expect(fs.list('/plain')).rejects.toMatchObject({ code: 'NOT_DIRECTORY' });
  await expect(fs.makeDirectory('/plain/below')).rejects.toMatchObject({ code: 'NOT_DIRECTORY' });
  await using reading = await fs.open('/plain');
  await expect(reading.write(0, Buffer.from('y'))).rejects.toMatchObject({ code: 'BAD_HANDLE' });
  const nobody = await FileSystem.connect({
    managers: [`127.0.0.1:${cluster.basePort}`],
    user: { uid: 65_534, gid: 65_534, groups: [] },
  });
  await fs.setPermissions('/plain', 0o600);
  await expect(nobody.readFile('/plain')).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  await nobody.stop();
  await expect(nobody.readFile('/plain')).rejects.toMatchObject({ code: 'UNREACHABLE' });
  const wrong = { managers: [`127.0.0.1:${cluster.basePort}`], cluster: 'another', connectTimeoutMs: 500 };
  await expect(FileSystem.connect(wrong)).rejects.toThrow(/another/);
});

test('locate names the nodes of each piece of a file', async () => {
  await fs.writeFile('/located', Buffer.alloc(5 << 20, 1));
  const places = await fs.locate('/located');
  expect(places.reduce((sum, place) => sum + place.length, 0n)).toBe(5n << 20n);
  for (const { nodes } of places) expect([...nodes].sort()).toEqual([1, 2, 3]);
  expect(new Set(places.map(({ nodes }) => nodes[0])).size).toBeGreaterThan(1);
});

test('a server dies under the SDK: every byte is there', async () => {
  const data = randomBytes(60_000_000);
  const writing = fs.writeFile('/survives', data, { durable: true });
  cluster.kill('storage-2');
  await writing;
  expect((await fs.readFile('/survives')).equals(data)).toBe(true);
  await cluster.untilReady();
  cluster.kill('meta');
  await fs.writeFile('/after', 'the names come back');
  expect((await fs.readFile('/after')).toString()).toBe('the names come back');
  await cluster.untilReady();
});
