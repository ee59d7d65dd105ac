// catena demo: what scripts/start runs once everything is built. Starts the cluster, puts real data on it,
// runs the main job two ways, runs it again while a storage server is killed, and stays until Ctrl-C.
import { spawn } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { FsError, fromSystemError } from '@catena/core';
import type { Command } from 'commander';
import { type ClusterDescription, findCluster } from '../cluster/description.ts';
import { root } from '../cluster/mains.ts';
import { managersOf } from '../cluster/managers.ts';
import { prepareCluster, waitUntilReady } from '../cluster/start.ts';
import { load, signal } from '../supervisor/process-identity.ts';
import { pidFile, supervisorFile } from '../supervisor/supervisor.ts';
import {
  addClusterOptions,
  askedOf,
  clusterOptionsOf,
  superviseWhile,
  type UpOptions,
  untilAborted,
} from './up.ts';

const flights = join(root, 'node_modules/vega-datasets/data/flights-3m.parquet');
/** Any of the three: every chain has a copy on each. */
const victim = 'storage-2';

interface DemoOptions extends UpOptions {
  once?: true;
}

export function addDemo(program: Command): void {
  addClusterOptions(
    program
      .command('demo')
      .description('start a cluster, run a SQL job on three million flights, kill a server'),
  )
    .option('--once', 'stop everything after the job instead of waiting for Ctrl-C')
    .option('--yes', 'ask nothing (scripts/start)')
    .action(async (options: DemoOptions, command: Command) => {
      const asked = askedOf(command);
      const missing = options.mount === false ? undefined : whyNoFuse();
      if (missing !== undefined) {
        console.log(
          `/dev/fuse cannot be used here (${missing}): going on without a mount, as with --no-mount`,
        );
        options.mount = false;
        asked.add('mountpoint');
      }
      // An earlier start without a mount is no reason to go on without one.
      if (findCluster(options.dir)?.mountpoint === undefined) asked.add('mountpoint');
      const cluster = await prepareCluster(clusterOptionsOf(options), asked);
      if (load(supervisorFile(cluster)) !== undefined) {
        phase(`the cluster in ${relative('.', cluster.directory)} runs already`);
        await waitUntilReady(cluster);
        await show(cluster);
        return;
      }
      const names = cluster.processes.map((spec) => spec.name).join(', ');
      await superviseWhile(
        cluster,
        async (stop) => {
          await show(cluster, stop);
          if (options.once !== true) await untilAborted(stop);
        },
        () => phase(`starting ${cluster.processes.length} processes: ${names} (some 5 s)`),
      );
    });
}

/** undefined if a mount is possible. A container may show the device and yet refuse it. */
function whyNoFuse(): string | undefined {
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
    return undefined;
  } catch (error) {
    return fromSystemError(error, 'opening it').code;
  }
}

function phase(text: string): void {
  console.log(`\n▸ ${text}`);
}

async function show(cluster: ClusterDescription, stop?: AbortSignal): Promise<void> {
  const job = cluster.mountpoint === undefined ? jobWithoutMount(cluster) : jobOnMount(cluster.mountpoint);
  if (cluster.mountpoint === undefined)
    phase('no mount: inputs are copied to scratch, outputs back, through the SDK; explain counts the bytes');
  phase('delays of 3,000,000 US flights by origin, as one query and as a job over all workers (some 5 s)');
  const first = await runJob(job, () => undefined, stop);
  phase(`the same again, and ${victim} is killed with -9 in the middle of it`);
  let killed = false;
  const kill = (): void => {
    killed ||= killVictim(cluster);
  };
  const second = await runJob(job, kill, stop);
  if (!killed) throw new FsError('INTERNAL', `${victim} was not killed: the job printed nothing`);
  const cost = (second - first).toFixed(2);
  console.log(
    `the result is the same; with the kill it took ${second.toFixed(2)} s instead of ${first.toFixed(2)} s (${cost} s)`,
  );
  printNextSteps(cluster);
}

/** The command of the main job, its input on the mount. */
function jobOnMount(mountpoint: string): string[] {
  const folder = join(mountpoint, 'flights');
  const input = join(folder, 'flights-3m.parquet');
  if (!existsSync(input) || statSync(input).size !== statSync(flights).size) {
    phase(
      `copying flights-3m.parquet (${(statSync(flights).size / 2 ** 20).toFixed(1)} MiB) to ${relative('.', folder)}`,
    );
    mkdirSync(folder, { recursive: true });
    copyFileSync(flights, input);
  }
  return [join(root, 'examples/dist/flights.js'), input];
}

/** The same without a mount: files go in and out through the SDK, copied to scratch where the workers read them. */
function jobWithoutMount(cluster: ClusterDescription): string[] {
  const managers = managersOf(cluster).join(',');
  return [join(root, 'examples/dist/flights-without-mount.js'), managers, flights];
}

/** Seconds of one run. `onOutput` is called with the first thing that the job prints, and with all later ones. */
async function runJob(job: readonly string[], onOutput: () => void, stop?: AbortSignal): Promise<number> {
  const started = performance.now();
  const child = spawn(process.execPath, job, { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = (): void => void child.kill('SIGTERM');
  stop?.addEventListener('abort', end, { once: true });
  child.stdout.on('data', (chunk: Buffer) => {
    process.stdout.write(chunk);
    onOutput();
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0)
    throw new FsError('TASK_FAILED', `the job ended with exit code ${code}; what it said is above`);
  return (performance.now() - started) / 1000;
}

function killVictim(cluster: ClusterDescription): boolean {
  const spec = cluster.processes.find((each) => each.name === victim);
  const identity = spec === undefined ? undefined : load(pidFile(cluster, spec));
  if (identity === undefined || !signal(identity, 'SIGKILL')) return false;
  console.log(`  kill -9 ${identity.pid} (${victim})`);
  return true;
}

function printNextSteps(cluster: ClusterDescription): void {
  const manager = cluster.processes.find((spec) => spec.role === 'manager');
  const mount = cluster.mountpoint === undefined ? undefined : relative('.', cluster.mountpoint);
  const steps =
    mount === undefined
      ? ['./catena fs put your.csv /your.csv', './catena fs ls /', './catena bench --quick --engine client']
      : [
          `echo hello > ${mount}/hello.txt`,
          `./catena sql "select * from '${mount}/your.csv' limit 10"     # after: cp your.csv ${mount}/`,
          './catena bench --quick',
        ];
  console.log(`\nNext, in another terminal:\n${steps.map((step) => `  ${step}`).join('\n')}`);
  console.log(
    `\nStatus page: http://${manager?.http}/\nCtrl-C stops and unmounts everything; the data stay in ${relative('.', cluster.directory)}.`,
  );
}
