import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { identify, isAlive, load, signal, store } from './process-identity.ts';

const folder = mkdtempSync(join(tmpdir(), 'catena-identity-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a process is known until it ends, and a reused pid is not taken for it', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const identity = identify(child.pid ?? 0);
  expect(identity).toBeDefined();
  if (identity === undefined) return;
  expect(isAlive(identity)).toBe(true);
  const reused = { ...identity, startTicks: `${BigInt(identity.startTicks) + 1n}` };
  expect(isAlive(reused)).toBe(false);
  expect(signal(reused, 'SIGKILL')).toBe(false);

  const path = join(folder, 'child.pid');
  store(path, identity);
  expect(load(path)).toEqual(identity);
  expect(signal(identity, 'SIGKILL')).toBe(true);
  await once(child, 'exit');
  expect(load(path)).toBeUndefined();
});

test('a file with garbage names nobody', () => {
  const path = join(folder, 'child.pid');
  writeFileSync(path, '{"pid":');
  expect(load(path)).toBeUndefined();
});
