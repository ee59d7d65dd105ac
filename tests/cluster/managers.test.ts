// Two managers and a real etcd (P3): whichever has the role dies, hangs, or loses etcd under load, and I/O goes on
// without an error; never do two of them decide.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bootMsFromProc, Etcd, realClock } from '../../core/dist/index.js';
import { EtcdServer } from './etcd-server.ts';
import { catena, RunningCluster } from './running-cluster.ts';

/** Longest operation while a manager dies or hangs and a storage server dies; it takes about a second. */
const stallMsMax = 10_000;

/** I/O does not notice that a manager is gone: the same limit as for all but a hundredth of any run's operations. */
const unnoticedMsMax = 2_000;

/** What docs/operations.md promises: a role ends 2 s after its holder. */
const takeoverMsMax = 3_000;

/** How long a test waits for a manager before it gives up. */
const electionMsMax = 60_000;

let cluster: RunningCluster;
let server: EtcdServer;
let etcd: Etcd;
beforeAll(async () => {
  cluster = RunningCluster.prepare();
  server = await new EtcdServer(cluster.basePort + 190).start();
  etcd = await Etcd.open([server.url], realClock(bootMsFromProc));
  cluster.up('--managers', '2', '--etcd', server.url);
}, 120_000);
afterAll(async () => {
  cluster?.stop();
  etcd?.close();
  await server?.stop();
});

const names = ['manager-1', 'manager-2'] as const;
type Name = (typeof names)[number];

async function healthOf(name: Name): Promise<{ role?: string; leader?: string; routingVersion?: number }> {
  const page = cluster.basePort + (name === 'manager-1' ? 100 : 102);
  const answer = await fetch(`http://127.0.0.1:${page}/healthz`, { signal: AbortSignal.timeout(500) }).catch(
    () => null,
  );
  return answer === null ? {} : ((await answer.json()) as object);
}

/** The manager that decides, after the role was taken more often than `taken` times. */
async function primary(taken = 0): Promise<Name> {
  for (const deadline = Date.now() + electionMsMax; Date.now() < deadline; await sleep(50)) {
    if (rolesTaken().length <= taken) continue;
    for (const name of names) if ((await healthOf(name)).role === 'primary') return name;
  }
  throw new Error(`no manager took the role within ${electionMsMax} ms\n${cluster.logs()}`);
}

/** Writes small files with fsync and reads each again; one JSON line for each, until it is ended. */
const script = `
  const { open, readFile } = require('node:fs/promises');
  const { join } = require('node:path');
  const folder = process.argv[1];
  (async () => {
    for (let seed = 1; ; seed++) {
      const started = Date.now();
      const content = Buffer.alloc((seed * 7919) % 300_000, String(seed) + '.');
      const path = join(folder, 'f' + (seed % 50));
      let error;
      try {
        const file = await open(path, 'w');
        try {
          await file.write(content);
          await file.sync();
        } finally {
          await file.close();
        }
        if (!(await readFile(path)).equals(content)) error = path + ': wrong bytes';
      } catch (thrown) {
        error = String(thrown);
      }
      process.stdout.write(JSON.stringify({ error, ms: Date.now() - started }) + '\\n');
    }
  })();
`;

/** In a process of its own: what the test does meanwhile must not hold it up. */
class Load {
  readonly errors: string[] = [];
  files = 0;
  longestMs = 0;
  readonly #process: ChildProcess;

  constructor(name: string) {
    const folder = join(cluster.mount, name);
    mkdirSync(folder);
    this.#process = spawn(process.execPath, ['-e', script, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(this.#process.stdout!).on('line', (line) => {
      const { error, ms } = JSON.parse(line) as { error?: string; ms: number };
      if (error === undefined) this.files++;
      else this.errors.push(error);
      this.longestMs = Math.max(this.longestMs, ms);
    });
  }

  /** After one more operation, so that one that hangs counts. */
  async stop(): Promise<void> {
    const done = this.files + this.errors.length;
    while (this.files + this.errors.length === done) await sleep(20);
    const ended = new Promise((resolve) => this.#process.once('close', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }
}

/** Revisions under which the role was taken, in the order of the logs: each manager decided under one of its own. */
function rolesTaken(): bigint[] {
  const events = names
    .flatMap((name) => cluster.events(name))
    .filter(({ event }) => event === 'role.taken')
    .map(({ revision }) => BigInt(String(revision)));
  return events.sort((a, b) => (a < b ? -1 : 1));
}

const prefix = (): string => {
  const { name } = JSON.parse(readFileSync(join(cluster.directory, 'cluster.json'), 'utf8')) as {
    name: string;
  };
  return `catena/${name}`;
};

/** The role's key now is the newest that was taken; the state is exactly at the version that its holder gives out. */
async function expectOneDecides(name: Name): Promise<void> {
  const role = await etcd.get(Buffer.from(`${prefix()}/role`));
  const taken = rolesTaken();
  expect(new Set(taken).size).toBe(taken.length);
  expect(role?.revision).toBe(taken.at(-1));
  const position = await etcd.get(Buffer.from(`${prefix()}/state/position`));
  expect(position?.value.readBigUInt64BE(0)).toBe(BigInt((await healthOf(name)).routingVersion ?? 0));
}

/** When the newest role was taken, as its holder's log says. */
const roleTakenAtMs = (): number =>
  Math.max(
    ...names
      .flatMap((name) => cluster.events(name))
      .filter(({ event }) => event === 'role.taken')
      .map(({ time }) => Date.parse(String(time))),
  );

test('the deciding manager is killed under load: I/O does not notice, and another decides in time', async () => {
  const old = await primary();
  const standby = names.find((name) => name !== old)!;
  expect(await healthOf(standby)).toMatchObject({ role: 'standby', leader: expect.stringMatching(/^127/) });
  const load = new Load('killed');
  await sleep(1_000);
  const taken = rolesTaken().length;
  const killedAtMs = Date.now();
  cluster.kill(old);
  // The other one, or the next process of the killed one: under a role of its own in any case.
  const next = await primary(taken);
  await sleep(1_000);
  await load.stop();
  const takeoverMs = roleTakenAtMs() - killedAtMs;
  const { errors, files, longestMs } = load;
  console.info(
    `manager killed: ${files} files, longest operation ${longestMs} ms, takeover ${takeoverMs} ms`,
  );
  expect(errors).toEqual([]);
  expect(files).toBeGreaterThan(5);
  expect(longestMs).toBeLessThan(unnoticedMsMax);
  expect(takeoverMs).toBeLessThan(takeoverMsMax);

  // A storage server that dies now leaves its chains by the new manager's decision.
  const later = new Load('killed-with-server');
  await sleep(500);
  cluster.kill('storage-2');
  await sleep(2_000);
  await later.stop();
  await cluster.untilReady();
  expect(later.errors).toEqual([]);
  console.info(`then a server: ${later.files} files, longest operation ${later.longestMs} ms`);
  expect(later.longestMs).toBeLessThan(stallMsMax);
  await expectOneDecides(next);
  expect(catena('verify', '--dir', cluster.directory).status).toBe(0);
});

test('the deciding manager hangs for longer than its role and comes back: it writes nothing and starts anew', async () => {
  const old = await primary();
  const pid = cluster.pidOf(old);
  const load = new Load('hung');
  const taken = rolesTaken().length;
  process.kill(pid, 'SIGSTOP');
  let next: Name;
  try {
    next = await primary(taken);
    expect(next).not.toBe(old);
    // Reported to the hanging one too, if it is the first of the list: it waits in its socket.
    cluster.kill('storage-1');
    await sleep(2_000);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  while (cluster.status().processes.find((entry) => entry.name === old)?.pid === pid) await sleep(100);
  await cluster.untilReady();
  await load.stop();
  expect(load.errors).toEqual([]);
  expect(load.longestMs).toBeLessThan(stallMsMax);
  console.info(`manager hung: ${load.files} files, longest operation ${load.longestMs} ms`);
  expect((await healthOf(old)).role).toBe('standby');
  await expectOneDecides(next);
});

test('etcd is away for a while: I/O waits and goes on by itself', async () => {
  const load = new Load('away');
  await sleep(500);
  const before = load.files;
  await server.kill();
  await sleep(1_000);
  // Leases that were granted go on.
  const meanwhile = load.files;
  expect(meanwhile).toBeGreaterThan(before);
  // Longer than the role, and than what the storage servers' leases have left.
  await sleep(7_000);
  const taken = rolesTaken().length;
  await server.start();
  const name = await primary(taken);
  const again = load.files;
  while (load.files < again + 10) await sleep(50);
  await load.stop();
  expect(load.errors).toEqual([]);
  console.info(`etcd away for 8 s: ${load.files} files, longest operation ${load.longestMs} ms`);
  await cluster.untilReady();
  await expectOneDecides(name);
  expect(catena('verify', '--dir', cluster.directory).status).toBe(0);
});
