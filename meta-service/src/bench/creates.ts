// How many files a second the service makes over its own protocol: node dist/bench/creates.js [--seconds 5]
// [--in-flight 64] [--directory DIR] [--json] [--profile]. Store and log are the product's, in DIR (default:
// a new folder in the system's temporary directory); the server is a process of its own. Measures creates
// alone, create+close pairs, and lookups.
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { message } from '@catena/core';
import { LoadClient } from './load-client.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    'in-flight': { type: 'string', default: '64' },
    directory: { type: 'string' },
    json: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const inFlight = Number(values['in-flight']);
const root = 1n;
const createExclusively = 0o1 | 0o200;
const warmUpMs = 1_500;
/** A new client after so many creates: each leaves an open file, and a client may have only so many. */
const createsPerClient = 60_000;

interface Figures {
  readonly cpuMs: number;
  readonly mainThreadMs: number;
  readonly rssBytes: number;
  readonly records: number;
  readonly overlay: number;
}
export interface Measured {
  readonly name: string;
  readonly inFlight: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly serverCpuUs: number;
  readonly mainThreadUs: number;
  readonly perRecord: number;
  readonly rssMiB: number;
}

const folder = values.directory ?? mkdtempSync(join(tmpdir(), 'catena-meta-bench-'));
const server = fork(join(import.meta.dirname, 'serve.js'), [join(folder, 'state')], {
  execArgv: values.profile ? ['--cpu-prof', `--cpu-prof-dir=${folder}`] : [],
});
const heard = (): Promise<unknown> => new Promise((resolve) => server.once('message', resolve));
const { address } = (await heard()) as { address: string };

async function figures(): Promise<Figures> {
  server.send('figures');
  return (await heard()) as Figures;
}

type Step = (client: LoadClient, index: number, done: () => void) => void;

async function measure(name: string, depth: number, step: Step, forMs = seconds * 1000): Promise<Measured> {
  const before = await figures();
  const latencies: number[] = [];
  let finished = 0;
  const started = performance.now();
  const until = started + forMs;
  while (performance.now() < until) {
    const client = await LoadClient.connect(address, randomBytes(16));
    await client.hello();
    let begun = 0;
    await new Promise<void>((resolve) => {
      const next = (): void => {
        if (begun < createsPerClient && performance.now() < until) step(client, begun++, answered);
        else if (client.inFlight === 0) resolve();
      };
      const answered = (): void => {
        finished++;
        next();
      };
      for (let lane = 0; lane < depth; lane++) next();
    });
    for (const latency of client.latenciesUs) latencies.push(latency);
    client.end();
  }
  const elapsedMs = performance.now() - started;
  const after = await figures();
  latencies.sort((a, b) => a - b);
  return {
    name,
    inFlight: depth,
    perSecond: Math.round((finished / elapsedMs) * 1000),
    p50Us: Math.round(latencies[latencies.length >> 1] ?? 0),
    p99Us: Math.round(latencies[Math.floor(latencies.length * 0.99)] ?? 0),
    serverCpuUs: each(after.cpuMs - before.cpuMs, finished),
    mainThreadUs: each(after.mainThreadMs - before.mainThreadMs, finished),
    perRecord: Math.round(finished / Math.max(1, after.records - before.records)),
    rssMiB: Math.round(after.rssBytes / 2 ** 20),
  };
}

/** Microseconds of one operation, with one decimal. */
function each(ms: number, operations: number): number {
  return Math.round((ms * 10_000) / operations) / 10;
}

let made = 0;
const create: Step = (client, _index, done) => {
  client.create(root, `file-${made++}`, createExclusively, (body) => {
    if (message.AnyReply.decode(body).header?.code !== 0) throw new Error('a create was refused');
    done();
  });
};
const createAndClose: Step = (client, _index, done) => {
  client.create(root, `file-${made++}`, createExclusively, (body) => {
    const { inode, session } = message.OpenReply.decode(body);
    if (inode === undefined) throw new Error('a create was refused');
    client.close(inode.id, session, done);
  });
};
const lookup: Step = (client, index, done) => client.lookup(root, `file-${(index * 7919) % made}`, done);

// Code that runs for the first time is compiled first; a service that runs for days does that once.
await measure('warm-up', inFlight, createAndClose, warmUpMs);
const results = [
  await measure('creates', inFlight, create),
  await measure('create+close pairs', inFlight, createAndClose),
  await measure('creates', 1, create),
  await measure('lookups', inFlight, lookup),
];
server.send('stop');
await new Promise((resolve) => server.once('exit', resolve));
if (values.directory === undefined && !values.profile) rmSync(folder, { recursive: true, force: true });

if (values.json) {
  writeSync(1, `${JSON.stringify(results)}\n`);
} else {
  for (const result of results) {
    const {
      name,
      inFlight: depth,
      perSecond,
      p50Us,
      p99Us,
      serverCpuUs,
      mainThreadUs,
      perRecord,
      rssMiB,
    } = result;
    writeSync(
      1,
      `${name}, ${depth} in flight: ${perSecond} a second, p50 ${p50Us} µs, p99 ${p99Us} µs, server CPU ` +
        `${serverCpuUs} µs each (JavaScript ${mainThreadUs}), ${perRecord} per log record, ${rssMiB} MiB
`,
    );
  }
  if (values.profile) writeSync(1, `profile of the server in ${folder}\n`);
}
