// Bytes in, bytes out: sizes around every boundary, sparse files, overwrites, truncation, many files, several
// readers.
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf, hashOf, writeLarge } from './content.ts';
import { RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
const at = (name: string): string => join(cluster.mount, name);
/** Drops the kernel's pages, so that reads reach the storage servers. */
const dropPages = (): void => writeFileSync('/proc/sys/vm/drop_caches', '3');

beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

const KiB = 1024;
const MiB = 1024 * KiB;

test('files of every size compare equal', () => {
  const sizes = [
    0,
    1,
    511,
    512,
    4095,
    4096,
    4097,
    64 * KiB - 1,
    64 * KiB + 1,
    MiB - 1,
    MiB,
    MiB + 1,
    3 * MiB + 77,
    17 * MiB + 1,
  ];
  for (const size of sizes) writeFileSync(at(`size-${size}`), contentOf(size + 1, size));
  dropPages();
  for (const size of sizes) {
    expect(statSync(at(`size-${size}`)).size).toBe(size);
    expect(readFileSync(at(`size-${size}`)).equals(contentOf(size + 1, size)), `${size} bytes`).toBe(true);
  }
});

test('a file of 3 GiB compares equal', () => {
  const written = writeLarge(at('large'), 3 * 1024 * MiB, 5);
  dropPages();
  expect(statSync(at('large')).size).toBe(3 * 1024 * MiB);
  expect(hashOf(at('large'))).toBe(written);
  unlinkSync(at('large'));
});

test('random overwrites, appends and truncations give what a local file gives', () => {
  const local = Buffer.alloc(6 * MiB);
  let length = 0;
  let state = 12_345;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state % below;
  };
  const fd = openSync(at('random'), 'w+');
  for (let round = 0; round < 400; round++) {
    if (random(10) === 0) {
      const cut = random(6 * MiB);
      ftruncateSync(fd, cut);
      if (cut < length) local.fill(0, cut, length);
      length = cut;
    } else {
      const offset = random(5 * MiB);
      const piece = contentOf(round, 1 + random(random(2) === 0 ? 5000 : 900_000));
      const size = Math.min(piece.length, local.length - offset);
      writeSync(fd, piece, 0, size, offset);
      piece.copy(local, offset, 0, size);
      length = Math.max(length, offset + size);
    }
  }
  closeSync(fd);
  dropPages();
  const got = readFileSync(at('random'));
  expect(got.length).toBe(length);
  expect(got.equals(local.subarray(0, length))).toBe(true);
});

test('a hole reads as zeros, and so does what is cut off and grown again', () => {
  const fd = openSync(at('sparse'), 'w+');
  writeSync(fd, Buffer.from('end'), 0, 3, 9 * MiB);
  closeSync(fd);
  writeFileSync(at('cut'), Buffer.alloc(2 * MiB, 0xff));
  truncateSync(at('cut'), 100);
  truncateSync(at('cut'), 2 * MiB);
  dropPages();
  const sparse = readFileSync(at('sparse'));
  expect(sparse.length).toBe(9 * MiB + 3);
  expect(sparse.subarray(0, 9 * MiB).every((byte) => byte === 0)).toBe(true);
  const cut = readFileSync(at('cut'));
  expect(cut.subarray(0, 100).every((byte) => byte === 0xff)).toBe(true);
  expect(cut.subarray(100).every((byte) => byte === 0)).toBe(true);
});

test('a file that is unlinked while open lives on', () => {
  writeFileSync(at('doomed'), contentOf(9, 2 * MiB));
  const fd = openSync(at('doomed'), 'r');
  unlinkSync(at('doomed'));
  expect(readdirSync(cluster.mount)).not.toContain('doomed');
  dropPages();
  const buffer = Buffer.alloc(2 * MiB);
  expect(readSync(fd, buffer, 0, buffer.length, 0)).toBeGreaterThan(0);
  let got = 0;
  while (got < buffer.length) {
    const more = readSync(fd, buffer, got, buffer.length - got, got);
    if (more === 0) break;
    got += more;
  }
  closeSync(fd);
  expect(buffer.equals(contentOf(9, 2 * MiB))).toBe(true);
});

test('two thousand files in one directory are listed once each, and removed', () => {
  mkdirSync(at('many'));
  for (let index = 0; index < 2000; index++) writeFileSync(at(`many/f${index}`), `${index}`);
  const names = readdirSync(at('many'));
  expect(names.length).toBe(2000);
  expect(new Set(names).size).toBe(2000);
  expect(readFileSync(at('many/f1234'), 'utf8')).toBe('1234');
  renameSync(at('many'), at('moved'));
  expect(readFileSync(at('moved/f7'), 'utf8')).toBe('7');
  rmSync(at('moved'), { recursive: true });
  expect(readdirSync(cluster.mount)).not.toContain('moved');
});

test('parallel readers see the same bytes', async () => {
  const data = contentOf(77, 24 * MiB);
  writeFileSync(at('shared'), data);
  dropPages();
  const want = createHash('sha256').update(data).digest('hex');
  const { readFile } = await import('node:fs/promises');
  const hashes = await Promise.all(
    Array.from({ length: 6 }, async () =>
      createHash('sha256')
        .update(await readFile(at('shared')))
        .digest('hex'),
    ),
  );
  expect(new Set(hashes)).toEqual(new Set([want]));
});
