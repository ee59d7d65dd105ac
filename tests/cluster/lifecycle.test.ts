// Starting, stopping, starting again; what a second start meets; and what is refused.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { hashOf } from './content.ts';
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
  process.kill(cluster.supervisorPid(), 'SIGKILL');
  writeFileSync(join(cluster.mount, 'orphaned.txt'), 'still here\n');
  cluster.up();
  expect(cluster.status().processes.map((entry) => entry.pid)).toEqual(before);
  expect(readFileSync(join(cluster.mount, 'orphaned.txt'), 'utf8')).toBe('still here\n');
});

test('a taken port is named, and nothing stays started; a making that was ended is begun anew', async () => {
  const other = prepareOther();
  const server = createServer().listen(other.basePort, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const done = await new Promise<{ status: number | null; stderr: string }>((resolve) => {
    setImmediate(() => resolve(other.tryUp()));
  });
  expect(done.status).toBe(1);
  expect(done.stderr).toContain(`127.0.0.1:${other.basePort}`);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expectNothingStarted(other);
  await new Promise((resolve) => server.close(resolve));
  // Nor does it matter where its making ended: as kill -9 before the last step leaves it, and in the middle of the
  // manager's first state.
  renameSync(join(other.directory, 'cluster.json'), join(other.directory, 'cluster.json.new'));
  rmSync(join(other.directory, 'manager/state'));
  // By several commands at once: one makes it, one starts it, and all find it serving.
  expect(await other.upTogether(4)).toEqual([0, 0, 0, 0]);
  const { ready, processes } = other.status();
  expect(ready).toBe(true);
  const started = other.events('supervisor').filter(({ event }) => event === 'process.started');
  expect(started.map(({ process: name }) => name).sort()).toEqual(processes.map(({ name }) => name).sort());
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

test('a file where a folder is wanted is refused in one line', () => {
  const other = prepareOther();
  writeFileSync(other.directory, 'mine');
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr.trim().split('\n')).toEqual([expect.stringMatching(/^catena: .*ENOTDIR.*\[IO\]$/)]);
  expect(readFileSync(other.directory, 'utf8')).toBe('mine');
});

interface Spoiled {
  readonly what: string;
  readonly name: string;
  readonly spoil: (text: string) => string;
  readonly word: string;
}
const spoiled: Spoiled[] = ['manager', 'meta', 'storage-2', 'mount'].flatMap((name) => [
  { what: 'an unknown key', name, spoil: (text) => `${text}\nnoSuchKey = 1\n`, word: 'noSuchKey' },
  { what: 'a wrong type', name, spoil: (text) => text.replace(/^http = .*$/m, 'http = 7400'), word: 'http' },
]);

test('a wrong configuration of any service is refused in one line that names file and key', () => {
  const other = prepareOther();
  other.init();
  for (const { what, name, spoil, word } of spoiled) {
    const path = join(other.directory, `config/${name}.toml`);
    const whole = readFileSync(path, 'utf8');
    writeFileSync(path, spoil(whole));
    const done = catena(name.replace(/-\d+$/, ''), '--config', path, '--check-config');
    writeFileSync(path, whole);
    expect(done.status, `${what} of ${name}`).toBe(2);
    expect(done.stderr.trim().split('\n'), `${what} of ${name}`).toHaveLength(1);
    expect(done.stderr).toContain(`${name}.toml: `);
    expect(done.stderr).toContain(`"${word}"`);
  }
});

/** No process runs from its folder, whoever noted it, and nothing is mounted. */
function expectNothingStarted({ directory, mount }: RunningCluster): void {
  const running = readdirSync('/proc').filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.some((word) => word.startsWith(directory));
    } catch {
      return false; // no process, or not any more
    }
  });
  expect(running).toEqual([]);
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(` ${mount} `);
}

// The one that would be the first to serve, and the one that is the last: whatever started beside it is ended.
test.each([
  ['manager', () => '= = =', 'manager.toml'],
  ['mount', (text: string) => `${text}\nnoSuchKey = 1\n`, 'noSuchKey'],
])('a %s that refuses to start leaves nothing started', (name, spoil, word) => {
  const other = prepareOther();
  other.init();
  const path = join(other.directory, `config/${name}.toml`);
  writeFileSync(path, spoil(readFileSync(path, 'utf8')));
  const done = other.tryUp();
  if (done.status === 0) other.stop();
  expect(done.status).toBe(1);
  expect(done.stderr).toContain(word);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expectNothingStarted(other);
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
  other.init();
  const whole = readFileSync(join(other.directory, 'cluster.json'));
  spoil(other.directory);
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr).toMatch(sentence);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  writeFileSync(join(other.directory, 'cluster.json'), whole);
  expectNothingStarted(other);
  if (existsSync(join(other.directory, 'logs/supervisor.log'))) {
    // Also what waited for the one that refused has ended when it was asked to: in order, or by the signal itself
    // if that came while it still loaded its modules and had nothing to end. Nobody was killed.
    const ends = other.events('supervisor').filter(({ event }) => event === 'process.exited');
    const unheard = ends.filter(({ how }) => typeof how !== 'number');
    expect(unheard.filter(({ how }) => how !== 'SIGTERM')).toEqual([]);
    for (const { process: name } of unheard) expect(other.events(String(name))).toEqual([]);
  }
  rmSync(other.directory, { recursive: true });
});

/** Of every file: path, and the hash of what it holds; of chunks, which are sparse, when they changed last. */
function contentsOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => {
      const { size, blocks, mtimeMs } = statSync(path);
      return `${path} ${size} ${blocks} ${size > 2 ** 20 ? mtimeMs : hashOf(path)}`;
    })
    .sort();
}

test('a data directory of another cluster is refused and not touched, and nothing stays started', () => {
  const other = prepareOther();
  other.init();
  const path = join(other.directory, 'config/storage-1.toml');
  const foreign = readFileSync(join(cluster.directory, 'config/storage-1.toml'), 'utf8');
  const disks = /^disks = .*$/m.exec(foreign)?.[0] ?? '';
  writeFileSync(path, readFileSync(path, 'utf8').replace(/^disks = .*$/m, disks));
  cluster.down();
  const folder = join(cluster.directory, 'storage-1');
  const before = contentsOf(folder);
  expect(before.length).toBeGreaterThan(4);
  const done = other.tryUp();
  expect(done.status).toBe(1);
  expect(done.stderr).toMatch(/another cluster/);
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expect(contentsOf(folder)).toEqual(before);
  expectNothingStarted(other);
  cluster.up();
  expect(cluster.status().ready).toBe(true);
});
