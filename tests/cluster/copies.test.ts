// What is on the disks: every copy of a chunk is equal byte for byte, and a flipped bit in one is detected on
// read and served from another.
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { find, type Place, readAt } from './on-disk.ts';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

const MiB = 1024 * 1024;

function flipBit({ path, offset }: Place): void {
  const fd = openSync(path, 'r+');
  const byte = readAt(fd, offset + 1000, 1);
  byte[0] = (byte[0] ?? 0) ^ 0x10;
  writeSync(fd, byte, 0, 1, offset + 1000);
  closeSync(fd);
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
  'a bit flipped on the disk of node %i is detected, served from another copy, and repaired',
  async (node) => {
    const name = `flipped-${node}`;
    const data = contentOf(100 + node, 2 * MiB);
    writeFileSync(join(cluster.mount, name), data, { flush: true });
    const [place] = find(join(cluster.directory, `storage-${node}`), data.subarray(0, 4096));
    expect(place).toBeDefined();
    if (place === undefined) return;
    const repaired = await metric(node, 'repaired_chunks');
    flipBit(place);

    // One client reads one chunk from the same copy each time, chosen by chance when it starts: new clients read
    // until one has met the flipped copy. All must get the right bytes, and so must the mount.
    for (let round = 0; (await metric(node, 'repaired_chunks')) === repaired; round++) {
      expect(round, 'no client of 40 met the flipped copy').toBeLessThan(40);
      const copy = join(cluster.directory, 'copy');
      expect(catena('fs', 'get', `/${name}`, copy, '--dir', cluster.directory).status).toBe(0);
      expect(readFileSync(copy).equals(data), `round ${round}`).toBe(true);
    }
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    expect(readFileSync(join(cluster.mount, name)).equals(data)).toBe(true);
    expect(find(join(cluster.directory, `storage-${node}`), data.subarray(0, 4096))).toEqual([place]);
    const verified = catena('verify', '--dir', cluster.directory);
    expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  },
);

interface Scrub {
  readonly node: number;
  readonly running: boolean;
  readonly finishedMs: number;
  readonly bytes: number;
  readonly found: number;
  readonly damaged: number;
}

test('a scrub by command finds the flipped bits that nobody reads, and puts them right', () => {
  const scrub = (...words: string[]): { status: number | null; targets: Scrub[] } => {
    const done = catena('scrub', '--json', '--dir', cluster.directory, ...words);
    return { status: done.status, targets: JSON.parse(done.stdout) as Scrub[] };
  };
  const data = contentOf(200, 2 * MiB);
  writeFileSync(join(cluster.mount, 'unread'), data, { flush: true });
  // Another block on each server, so that each has good copies of all.
  const pieces = [1, 2, 3].map((node) => data.subarray(node * 8192, node * 8192 + 4096));
  const placesOf = (node: number): Place[] =>
    find(join(cluster.directory, `storage-${node}`), pieces[node - 1]!);
  const places = [1, 2, 3].map(placesOf);
  expect(places.map((each) => each.length)).toEqual([1, 1, 1]);
  for (const [place] of places) flipBit(place!);
  const { status, targets } = scrub('--wait');
  for (const node of [1, 2, 3]) {
    const own = targets.filter((target) => target.node === node);
    expect(own.length).toBeGreaterThan(0);
    expect(own.every(({ running, finishedMs }) => !running && finishedMs > 0)).toBe(true);
    expect(own.reduce((sum, { found }) => sum + found, 0)).toBe(1);
    expect(own.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThanOrEqual(2 * MiB);
  }
  // It waits for the repairs, too.
  expect([status, targets.filter(({ damaged }) => damaged > 0)]).toEqual([0, []]);
  expect([1, 2, 3].map(placesOf)).toEqual(places);
  expect(scrub('--status').targets).toEqual(targets);
});

test('verify says which copies it could not compare', async () => {
  const supervisor = cluster.supervisorPid();
  process.kill(supervisor, 'SIGSTOP'); // nobody starts it again, nobody reports its end
  try {
    const dead = cluster.kill('storage-3');
    expect(dead).toBeGreaterThan(0);
    const lost = (): boolean =>
      cluster.status().chains?.every(({ members }) => members.some(({ state }) => state !== 'serving')) ??
      false;
    await expect.poll(lost, { timeout: 30_000, interval: 300 }).toBe(true);
    const verified = catena('verify', '--dir', cluster.directory);
    expect(verified.status).toBe(1);
    expect(verified.stdout).toMatch(/target \d+ does not serve, not compared/);
    expect(verified.stdout).toMatch(/all copies that serve are equal, \d+ are missing: /);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await cluster.untilReady();
  const verified = catena('verify', '--dir', cluster.directory);
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
});

/** Sum of the metrics of a storage server whose name contains a word. */
async function metric(node: number, word: string): Promise<number> {
  const http = cluster.status().processes.find((entry) => entry.name === `storage-${node}`)?.http;
  const text = await (await fetch(`${http}metrics`, { headers: { connection: 'close' } })).text();
  const lines = text.split('\n').filter((line) => !line.startsWith('#') && line.includes(word));
  return lines.reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
}
