// Storage servers past the page cache beside buffered ones: kill -9 under verifying load loses nothing, the copies are
// equal byte for byte, and the same files serve with the other media after a restart.
import { appendFileSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ExtraMount } from '../faults/extra-mount.ts';
import { Load, untilEqual } from '../faults/load.ts';
import { seedOf } from '../faults/schedule.ts';
import { hashOf, writeLarge } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
const configOf = (node: number): string => join(cluster.directory, 'config', `storage-${node}.toml`);

beforeAll(() => {
  cluster = RunningCluster.prepare();
  cluster.init('--targets-per-disk', '2');
  for (const node of [1, 2]) appendFileSync(configOf(node), 'media = ["direct"]\n');
  cluster.up();
});
afterAll(() => cluster.stop());

/** O_DIRECT of Linux on this machine's architecture, as /proc shows it: octal. */
const directFlag = process.arch === 'arm64' ? 0o200_000 : 0o40_000;

/** Of the open files that hold chunks: whether each goes past the page cache. */
function segmentsOf(node: number): boolean[] {
  const pid = cluster.pidOf(`storage-${node}`);
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      if (!/\/segment-[^/]*$/.test(readlinkSync(`/proc/${pid}/fd/${fd}`))) return [];
      const [, flags = ''] = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? [];
      return [(Number.parseInt(flags, 8) & directFlag) !== 0];
    } catch {
      return []; // closed meanwhile
    }
  });
}

const fileBytes = 48 << 20;

test('a direct server is killed under load beside a buffered one', async () => {
  const sha256 = writeLarge(join(cluster.mount, 'large'), fileBytes, 3);
  expect(segmentsOf(1)).toContain(true);
  expect(segmentsOf(2)).toContain(true);
  expect(segmentsOf(3)).not.toContain(true);
  expect(segmentsOf(3).length).toBeGreaterThan(0);
  const mount = await ExtraMount.start(cluster, 1);
  try {
    const seed = seedOf('tests/cluster/media.test.ts');
    const load = new Load({ cluster, mounts: [mount], seed, seconds: 10, name: 'media' });
    for (const name of ['storage-1', 'storage-2', 'storage-3']) {
      await sleep(2_000);
      expect(cluster.tryKill(name)).toBe(true);
    }
    console.info(`media: ${JSON.stringify(await load.judge())}`);
  } finally {
    await mount.stop();
  }
  await untilEqual(cluster);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  expect(hashOf(join(cluster.mount, 'large'))).toBe(sha256);
  expect(segmentsOf(1)).toContain(true);
  expect(readFileSync(join(cluster.directory, 'logs', 'storage-1.log'), 'utf8')).not.toContain(
    'media_fallback',
  );

  // The other way round, on the same files.
  cluster.down();
  for (const node of [1, 2]) {
    writeFileSync(configOf(node), readFileSync(configOf(node), 'utf8').replace('"direct"', '"buffered"'));
  }
  appendFileSync(configOf(3), 'media = ["direct"]\n');
  cluster.up();
  expect(hashOf(join(cluster.mount, 'large'))).toBe(sha256);
  expect(segmentsOf(1)).not.toContain(true);
  expect(segmentsOf(3)).toContain(true);
  await untilEqual(cluster);
});

test('what is no media keeps the server from starting, in one line', () => {
  writeFileSync(configOf(1), readFileSync(configOf(1), 'utf8').replace('"buffered"', '"O_DIRECT"'));
  const refused = catena('storage', '--config', configOf(1), '--check-config');
  expect(refused.status).not.toBe(0);
  expect(refused.stderr.trim().split('\n')).toHaveLength(1);
  expect(refused.stderr).toContain('"media" must be a list of buffered, direct');
});
