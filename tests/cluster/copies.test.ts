// What is on the disks: every copy of a chunk is equal byte for byte, and a flipped bit in one is detected on
// read and served from another.
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

const MiB = 1024 * 1024;

/** Where those bytes stand below the folder: every file and offset. */
function find(folder: string, wanted: Buffer): { path: string; offset: number }[] {
  const found: { path: string; offset: number }[] = [];
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const entry of files) {
    const path = join(entry.parentPath, entry.name);
    const fd = openSync(path, 'r');
    const overlap = wanted.length - 1;
    const piece = Buffer.alloc(8 * MiB + overlap);
    for (let start = 0; start < statSync(path).size; start += 8 * MiB) {
      const got = readSync(fd, piece, 0, piece.length, start);
      const index = piece.subarray(0, got).indexOf(wanted);
      if (index >= 0) found.push({ path, offset: start + index });
    }
    closeSync(fd);
  }
  return found;
}

test('every copy holds the same bytes, on every disk, and verify agrees', () => {
  const data = contentOf(4242, 5 * MiB + 123);
  writeFileSync(join(cluster.mount, 'copies'), data, { flush: true });
  const verified = catena('verify', '--dir', cluster.directory, '--json');
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  expect((JSON.parse(verified.stdout) as { chunks: number }).chunks).toBeGreaterThanOrEqual(6);
  // Each MiB is one chunk: its bytes stand, whole and in one piece, once on each server's disk.
  for (const index of [0, 3, 5]) {
    const chunk = data.subarray(index * MiB, (index + 1) * MiB);
    for (const node of [1, 2, 3]) {
      expect(
        find(join(cluster.directory, `storage-${node}`), chunk),
        `chunk ${index} on node ${node}`,
      ).toHaveLength(1);
    }
  }
});

test.each([1, 2, 3])(
  'a bit flipped on the disk of node %i is detected and served from another copy',
  async (node) => {
    const name = `flipped-${node}`;
    const data = contentOf(100 + node, 2 * MiB);
    writeFileSync(join(cluster.mount, name), data, { flush: true });
    const [place] = find(join(cluster.directory, `storage-${node}`), data.subarray(0, 4096));
    expect(place).toBeDefined();
    if (place === undefined) return;
    const fd = openSync(place.path, 'r+');
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, place.offset + 1000);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    writeSync(fd, byte, 0, 1, place.offset + 1000);
    closeSync(fd);

    // Reads are spread over the copies, so that some of many meet the flipped one: all must be right.
    for (let round = 0; round < 12; round++) {
      writeFileSync('/proc/sys/vm/drop_caches', '3');
      expect(readFileSync(join(cluster.mount, name)).equals(data), `round ${round}`).toBe(true);
    }
    const corrupt = await metric(node, 'corrupt');
    expect(corrupt, 'the server counted what it found').toBeGreaterThan(0);
    const verified = catena('verify', '--dir', cluster.directory);
    expect(verified.status).toBe(1);
    expect(verified.stdout + verified.stderr).toMatch(/checksum/);
  },
);

/** Sum of the metrics of a storage server whose name contains a word. */
async function metric(node: number, word: string): Promise<number> {
  const http = cluster.status().processes.find((entry) => entry.name === `storage-${node}`)?.http;
  const text = await (await fetch(`${http}metrics`)).text();
  const lines = text.split('\n').filter((line) => !line.startsWith('#') && line.includes(word));
  return lines.reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
}
