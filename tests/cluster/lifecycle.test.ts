// Starting, stopping, starting again; what a second start meets; and what is refused.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { catena, RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

/** Clusters of single tests: most are refused, and none runs afterwards. */
const others: RunningCluster[] = [];
afterEach(() => {
  for (const other of others.splice(0)) other.remove();
});

function prepareOther(): RunningCluster {
  const other = RunningCluster.prepare();
  others.push(other);
  return other;
}

test('everything serves, and the status says so', () => {
  const status = cluster.status();
  expect(status.ready).toBe(true);
  expect(status.processes.map((entry) => entry.name).sort()).toEqual(
    ['manager', 'meta', 'mount', 'storage-1', 'storage-2', 'storage-3'].sort(),
  );
  expect(status.chains?.length).toBe(4);
  for (const chain of status.chains ?? []) {
    expect(chain.members.map((member) => member.state)).toEqual(['serving', 'serving', 'serving']);
    expect(new Set(chain.members.map((member) => member.node)).size).toBe(3);
  }
});

test('data survive down and up, and a second up changes nothing', async () => {
  mkdirSync(join(cluster.mount, 'kept/deep'), { recursive: true });
  writeFileSync(join(cluster.mount, 'kept/deep/hello.txt'), 'hello\n');
  const pids = cluster.status().processes.map((entry) => entry.pid);
  cluster.up();
  expect(cluster.status().processes.map((entry) => entry.pid)).toEqual(pids);

  cluster.down();
  expect(existsSync(join(cluster.mount, 'kept'))).toBe(false);
  for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(false);
  cluster.up();
  expect(readFileSync(join(cluster.mount, 'kept/deep/hello.txt'), 'utf8')).toBe('hello\n');
});

test('everything killed at once comes back with what was written', async () => {
  writeFileSync(join(cluster.mount, 'before.txt'), 'before the crash\n');
  const { processes } = cluster.status();
  for (const { pid } of processes) if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await cluster.untilReady();
  expect(readFileSync(join(cluster.mount, 'before.txt'), 'utf8')).toBe('before the crash\n');
});

test('the supervisor killed: its children live on, and the next up adopts them', async () => {
  const before = cluster.status().processes.map((entry) => entry.pid);
  const { pid } = JSON.parse(readFileSync(join(cluster.directory, 'run/supervisor.pid'), 'utf8')) as {
    pid: number;
  };
  process.kill(pid, 'SIGKILL');
  writeFileSync(join(cluster.mount, 'orphaned.txt'), 'still here\n');
  cluster.up();
  expect(cluster.status().processes.map((entry) => entry.pid)).toEqual(before);
  expect(readFileSync(join(cluster.mount, 'orphaned.txt'), 'utf8')).toBe('still here\n');
});

test('a taken port is named, and nothing stays started', async () => {
  const other = prepareOther();
  const server = createServer().listen(other.basePort, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const done = await new Promise<{ status: number | null; stderr: string }>((resolve) => {
    setImmediate(() => resolve(other.tryUp()));
  });
  expect(done.status).toBe(1);
  expect(done.stderr).toContain(`127.0.0.1:${other.basePort}`);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  const status = other.status();
  expect(status.processes.every((entry) => entry.pid === undefined)).toBe(true);
  await new Promise((resolve) => server.close(resolve));
  other.up();
  other.stop();
});

test('a folder that holds something else is refused', () => {
  const other = prepareOther();
  mkdirSync(other.directory);
  writeFileSync(join(other.directory, 'precious.txt'), 'mine');
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr).toContain('not empty');
  expect(readFileSync(join(other.directory, 'precious.txt'), 'utf8')).toBe('mine');
});

test.each([
  ['an unknown key', (text: string) => `${text}\nnoSuchKey = 1\n`, 'noSuchKey'],
  ['a wrong type', (text: string) => text.replace(/^listen = .*$/m, 'listen = 7400'), 'listen'],
  ['no TOML', () => '= = =', 'manager.toml'],
])('%s in a configuration refuses to start in one line', (_name, spoil, word) => {
  const other = prepareOther();
  expect(
    catena('init', '--dir', other.directory, '--mount', other.mount, '--base-port', `${other.basePort}`)
      .status,
  ).toBe(0);
  const path = join(other.directory, 'config/manager.toml');
  writeFileSync(path, spoil(readFileSync(path, 'utf8')));
  const done = other.tryUp();
  if (done.status === 0) other.stop();
  expect(done.status).toBe(1);
  expect(done.stderr).toContain(word);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expect(other.status().processes.every((entry) => entry.pid === undefined)).toBe(true);
});

test.each([
  [
    'a cluster of a newer release',
    (directory: string) => {
      const path = join(directory, 'cluster.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"version": 1', '"version": 2'));
    },
    /version 2; this release reads version 1/,
  ],
  [
    'a description that is no JSON',
    (directory: string) => writeFileSync(join(directory, 'cluster.json'), '{"version": 1,'),
    /cluster\.json is no JSON/,
  ],
  [
    'a configuration that cannot be read',
    (directory: string) => {
      rmSync(join(directory, 'config/meta.toml'));
      mkdirSync(join(directory, 'config/meta.toml'));
    },
    /meta refused to start: .*meta\.toml/,
  ],
])('%s is refused in one line, and nothing stays started', (_name, spoil, sentence) => {
  const other = prepareOther();
  const place = ['--dir', other.directory, '--mount', other.mount];
  expect(catena('init', ...place, '--base-port', `${other.basePort}`).status).toBe(0);
  const whole = readFileSync(join(other.directory, 'cluster.json'));
  spoil(other.directory);
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr).toMatch(sentence);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  writeFileSync(join(other.directory, 'cluster.json'), whole);
  expect(other.status().processes.every((entry) => entry.pid === undefined)).toBe(true);
  rmSync(other.directory, { recursive: true });
});

test('a cluster whose making was ended in the middle is made anew', () => {
  const other = prepareOther();
  const place = ['--dir', other.directory, '--mount', other.mount];
  expect(catena('init', ...place, '--base-port', `${other.basePort}`).status).toBe(0);
  // As kill -9 before the last step leaves it, and in the middle of the manager's first state.
  renameSync(join(other.directory, 'cluster.json'), join(other.directory, 'cluster.json.new'));
  rmSync(join(other.directory, 'manager/state'));
  other.up();
  expect(other.status().ready).toBe(true);
  other.stop();
});

test('a data directory of another cluster is refused and not touched', () => {
  const other = prepareOther();
  expect(
    catena('init', '--dir', other.directory, '--mount', other.mount, '--base-port', `${other.basePort}`)
      .status,
  ).toBe(0);
  const path = join(other.directory, 'config/storage-1.toml');
  const foreign = readFileSync(join(cluster.directory, 'config/storage-1.toml'), 'utf8');
  const disks = /^disks = .*$/m.exec(foreign)?.[0] ?? '';
  writeFileSync(path, readFileSync(path, 'utf8').replace(/^disks = .*$/m, disks));
  cluster.down();
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr).toMatch(/another cluster/);
  cluster.up();
  expect(cluster.status().ready).toBe(true);
});

test('a stale mount of a killed mount process is replaced', async () => {
  cluster.kill('mount');
  await cluster.untilReady();
  writeFileSync(join(cluster.mount, 'after-remount.txt'), 'x');
  expect(readFileSync(join(cluster.mount, 'after-remount.txt'), 'utf8')).toBe('x');
});
