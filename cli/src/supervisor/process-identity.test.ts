import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

test('what is stored takes no block, however long its numbers are', () => {
  const bootId = '01234567-89ab-cdef-0123-456789abcdef';
  const path = join(folder, 'long.pid');
  // The highest pid that Linux gives, and 30 years at a hundred ticks a second; twice, as after a start cut off.
  for (let round = 0; round < 2; round++) store(path, { pid: 4_194_304, startTicks: '99999999999', bootId });
  expect(lstatSync(path).size).toBeLessThan(60);
  expect(lstatSync(path).blocks).toBe(0);
});

test('garbage names nobody', () => {
  const path = join(folder, 'garbage.pid');
  writeFileSync(path, '{"pid":');
  expect(load(path)).toBeUndefined();
  rmSync(path);
  symlinkSync('elsewhere', path);
  expect(load(path)).toBeUndefined();
});
