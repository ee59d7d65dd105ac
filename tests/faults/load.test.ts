import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../cluster/running-cluster.ts';
import { explained, keptHistories, timedOfBench } from './load.ts';

test.each([
  [{ p50: 1, p95: 1, p99: 1, p999: 1, max: 2_000_000 }, 0],
  [{ p50: 1, p95: 1, p99: 1, p999: 2_000_000, max: 2_000_001 }, 2],
  [{ p50: 1, p95: 1, p99: 2_000_000, p999: 2_000_001, max: 9_000_000 }, 11],
  [{ p50: 1, p95: 1, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 51],
  [{ p50: 1, p95: 3_000_000, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 501],
  [{ p50: 3_000_000, p95: 3_000_000, p99: 3_000_000, p999: 3_000_000, max: 3_000_000 }, 1_001],
])('of what a bench says, no long operation is left out: %j', (latencyUs, overTwoSeconds) => {
  const timed = timedOfBench({ errors: 0, operations: 1_001, latencyUs });
  expect(timed).toMatchObject({ operations: 1_001, overTwoSeconds, longestMs: latencyUs.max / 1_000 });
});

test('a history that nothing explains is kept, and the error says how to see it again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'catena-history-'));
  const path = join(folder, 'planted.history');
  const head = 'catena history 1\nw 0 7 1 2\nw 0 8 3 4\n';
  writeFileSync(path, `${head}r 0 8 5 6\n`);
  expect(explained(path, 1)).toEqual({ operations: 3, violations: 0, failures: [] });
  writeFileSync(path, `${head}r 0 7 5 6\n`);
  let said = '';
  try {
    explained(path, 1);
  } catch (error) {
    said = String(error);
  }
  rmSync(folder, { recursive: true });
  const [, command = ''] = /to see it again: (.*)$/.exec(said) ?? [];
  const again = spawnSync('sh', ['-c', command], { cwd: root, encoding: 'utf8' });
  rmSync(join(keptHistories, 'planted-1.history'));
  expect(again.status, `${said}\n${again.stderr}`).toBe(1);
  expect(JSON.parse(again.stdout)).toMatchObject({ operations: 3, violations: 1 });
});
