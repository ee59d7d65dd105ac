// The whole of `scripts/start` once everything is built: without /dev/fuse, again with it, and ended in the middle by
// Ctrl-C and by kill -9. Nothing stays behind.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { catena, catenaPath, RunningCluster } from './running-cluster.ts';

const cluster = RunningCluster.prepare();
afterAll(() => {
  catena('down', '--dir', cluster.directory);
  rmSync(dirname(cluster.directory), { recursive: true, force: true });
});

const place = ['--dir', cluster.directory, '--mount', cluster.mount];
const demo = [catenaPath, 'demo', ...place, '--base-port', String(cluster.basePort)];

/** A /dev of its own in which there is everything but fuse. */
const withoutFuse = `set -e
  dev=$1; shift
  mount -t tmpfs dev "$dev"
  for name in null zero full random urandom tty; do touch "$dev/$name"; mount --bind "/dev/$name" "$dev/$name"; done
  mount --rbind "$dev" /dev
  exec "$@"`;

/** Starts it as a terminal does, in a session of its own; resolves when it has printed the text. */
async function startUntil(text: string, ...extra: string[]): Promise<ChildProcess & { pid: number }> {
  const [command = '', ...parameters] = [...demo, ...extra];
  const child = spawn(command, parameters, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString();
    if (printed.includes(text)) child.emit('printed');
  });
  const ended = once(child, 'exit').then(() => {
    throw new Error(`ended before it printed "${text}": ${printed}`);
  });
  await Promise.race([once(child, 'printed'), ended]);
  ended.catch(() => undefined); // it may end from now on
  return child as ChildProcess & { pid: number };
}

/** Processes of a session, as `command` (pid); job and workers are in that of `demo`. */
function processesOfSession(session: number): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(fields[3]) === session && fields[0] !== 'Z') found.push(`${stat.split(' ')[1]} (${pid})`);
    } catch {} // it ended meanwhile
  }
  return found;
}

function expectNothingLeft(): void {
  const status = cluster.status();
  expect(status.processes.filter((entry) => entry.pid !== undefined)).toEqual([]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(cluster.mount);
}

test('without /dev/fuse it says so, copies through the SDK, and gives the same result', () => {
  const dev = mkdtempSync(join(tmpdir(), 'catena-dev-'));
  const done = spawnSync('unshare', ['--mount', 'sh', '-c', withoutFuse, 'sh', dev, ...demo, '--once'], {
    encoding: 'utf8',
    cwd: tmpdir(),
    timeout: 200_000,
  });
  rmSync(dev, { recursive: true });
  expect(done.status, done.stdout + done.stderr).toBe(0);
  expect(done.stdout).toContain('/dev/fuse cannot be used here (NOT_FOUND): going on without a mount');
  expect(done.stdout.match(/all three results are equal/g)).toHaveLength(2);
  expect(done.stdout).toMatch(/kill -9 \d+ \(storage-2\)/);
  expect(done.stdout).toMatch(/[1-9]\d{6,} bytes to scratch, [1-9]\d+ bytes back/);
  expectNothingLeft();
  expect(existsSync(cluster.mount)).toBe(false);
});

test('the next start, where there is a /dev/fuse, mounts what the last one wrote', () => {
  const [command = '', ...parameters] = [...demo, '--once'];
  const done = spawnSync(command, parameters, { encoding: 'utf8', cwd: '/', timeout: 200_000 });
  expect(done.status, done.stdout + done.stderr).toBe(0);
  // The input was copied in by the SDK before.
  expect(done.stdout).not.toContain('copying flights');
  expect(done.stdout).toContain('workers read the files in place');
  expect(done.stdout.match(/all three results are equal/g)).toHaveLength(2);
  expectNothingLeft();
});

test.each([
  ['while it starts', 'starting'],
  ['in the middle of the job', 'delays of'],
])('Ctrl-C %s stops and unmounts everything', async (_when, text) => {
  const child = await startUntil(text);
  process.kill(-child.pid, 'SIGINT');
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code).toBe(0);
  expect(processesOfSession(child.pid)).toEqual([]);
  expectNothingLeft();
});

test('after kill -9 of the command, down stops what it left, and another start finds the data', async () => {
  const child = await startUntil('delays of');
  process.kill(child.pid, 'SIGKILL');
  await once(child, 'exit');
  expect(catena('down', '--dir', cluster.directory).stdout).toContain('stopped');
  expectNothingLeft();
  cluster.up();
  expect(existsSync(join(cluster.mount, 'flights/flights-3m.parquet'))).toBe(true);
  cluster.down();
  expectNothingLeft();
});

test('what an existing cluster cannot be is refused in one line', () => {
  const again = catena('up', '-d', ...place, '--base-port', String(cluster.basePort + 1));
  expect(again.status).toBe(1);
  expect(again.stderr.trim().split('\n')).toHaveLength(1);
  expect(again.stderr).toContain(`was made with basePort ${cluster.basePort}`);
  expectNothingLeft();
});
