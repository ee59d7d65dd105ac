// What `start` says of a machine that lacks something, without building anything: programs of this machine are
// replaced by others in front of them in PATH.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';

const start = join(import.meta.dirname, 'start');
const folder = mkdtempSync(join(tmpdir(), 'catena-prerequisites-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `start` with these programs (name → its lines of shell) instead of the machine's; nothing is ever built. */
function startWith(programs: Record<string, string>) {
  mkdirSync(folder, { recursive: true });
  const harmless = { npm: 'exit 97', 'apt-get': 'exit 98', sudo: 'exit 98' };
  for (const [name, lines] of Object.entries({ ...harmless, ...programs })) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${lines}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  return spawnSync('sh', [start, '--yes'], { encoding: 'utf8', env, cwd: tmpdir() });
}

test.each([
  ['an old Node', { node: 'echo v18.19.0' }, 'Node.js 20.19 or later is needed, found v18.19.0'],
  [
    'an old Rust',
    { cargo: 'echo cargo 1.63.0' },
    'Rust 1.95 or later is needed, found 1.63.0: rustup update',
  ],
  [
    'a full disk',
    { df: 'echo Filesystem; echo /dev/vda 100000000 99000000 1048576 99% /' },
    '6 GiB of free disk are needed here, 1024 MiB are free',
  ],
])('%s is named, with what to do, before anything is built', (_name, programs, sentence) => {
  // Also where one check fails to stop it, the build does.
  const done = startWith({ node: 'case $1 in --version) echo v20.19.0;; *) exit 96;; esac', ...programs });
  expect(done.stderr).toContain(sentence);
  expect(done.status).toBe(1);
  expect(done.stdout).toBe('');
});

test('everything that is missing stands in one list', () => {
  const done = startWith({ node: 'echo v16.0.0', cargo: 'echo cargo 1.63.0' });
  expect(done.stderr.trim().split('\n')).toHaveLength(3);
});

test('two that build in one checkout: the second says so and leaves the first alone', async () => {
  const holder = spawn('flock', [
    join(import.meta.dirname, 'prerequisites.sh'),
    'sh',
    '-c',
    'echo held; cat',
  ]);
  await once(holder.stdout, 'data');
  const done = startWith({
    node: 'case $1 in --version) echo v20.19.0;; *) exit 96;; esac',
    cargo: 'echo cargo 1.95.0',
  });
  holder.stdin.end();
  await once(holder, 'exit');
  expect(done.status).toBe(1);
  expect(done.stdout).toBe('');
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expect(done.stderr).toContain('another ./scripts/start or ./scripts/test is building');
});
