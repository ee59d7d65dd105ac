// Holes: a file that is punched reads as on any other file system, and the servers' disks get the space back.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findings, witness } from '../faults/program.ts';
import { contentOf } from './content.ts';
import { RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
const at = (name: string): string => join(cluster.mount, name);
const MiB = 1 << 20;

beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

function fallocate(path: string, ...parameters: string[]): void {
  const done = spawnSync('fallocate', [...parameters, path], { encoding: 'utf8' });
  expect(done.status, `fallocate ${parameters.join(' ')}: ${done.stderr}`).toBe(0);
}

/** Bytes of blocks that the storage servers' folders take, all three copies. */
function stored(): number {
  const folders = [1, 2, 3].map((number) => join(cluster.directory, `storage-${number}`));
  const done = spawnSync('du', ['-s', '--block-size=1', '--total', ...folders], { encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  return Number(done.stdout.trim().split('\n').at(-1)?.split('\t')[0]);
}

async function until(what: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!what() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 200));
}

test('punched holes read as on a local file system, and the space comes back on every server', async () => {
  const local = join(cluster.directory, 'local');
  writeFileSync(local, contentOf(1, 24 * MiB + 77));
  copyFileSync(local, at('file'));
  const holes = [
    ['-p', '-o', '10', '-l', '100'],
    ['-p', '-o', String(MiB - 5000), '-l', '10000'],
    ['-p', '-o', String(2 * MiB), '-l', String(16 * MiB)],
    ['-p', '-o', String(23 * MiB), '-l', String(100 * MiB)],
    ['-z', '-n', '-o', String(20 * MiB), '-l', '12345'],
    ['-z', '-o', String(24 * MiB), '-l', String(2 * MiB)],
    ['-n', '-o', '0', '-l', String(40 * MiB)],
    ['-o', '0', '-l', String(27 * MiB)],
  ];
  spawnSync('sync', [at('file')]);
  const before = { blocks: statSync(at('file')).blocks, bytes: stored() };
  expect(before.blocks * 512).toBeGreaterThanOrEqual(24 * MiB);
  for (const hole of holes) {
    fallocate(local, ...hole);
    fallocate(at('file'), ...hole);
    expect(statSync(at('file')).size, hole.join(' ')).toBe(statSync(local).size);
    expect(readFileSync(at('file')).equals(readFileSync(local)), hole.join(' ')).toBe(true);
  }
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  expect(readFileSync(at('file')).equals(readFileSync(local)), 'from the servers').toBe(true);
  // 16 MiB and the last one and a bit.
  expect(before.blocks - statSync(at('file')).blocks).toBeGreaterThan((17 * MiB) / 512);
  // Blocks go back to the disks with the next flush of each target.
  await until(() => before.bytes - stored() > 3 * 16 * MiB);
  expect(before.bytes - stored()).toBeGreaterThan(3 * 16 * MiB);
});

test.each([1, 2])(
  'random operations, also through memory, are those of a local file (seed %i)',
  async (seed) => {
    const program = witness('operations', {
      mount: cluster.mount,
      maps: 'true',
      name: `random-${seed}`,
      seed,
      seconds: 120,
      operations: 1500,
    });
    const found = await findings<{ operations: number; failures: string[] }>(program);
    expect(found.failures).toEqual([]);
    expect(found.operations).toBe(1500);
  },
);
