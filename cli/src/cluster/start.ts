// Starting and stopping a whole cluster of this machine: the folder, the first state of the manager, the
// supervisor, and the wait until everything serves.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, statfsSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FsError, fromSystemError } from '@catena/core';
import { identify, isAlive, load, signal, store } from '../supervisor/process-identity.ts';
import { findRefusal, forgetRefusals } from '../supervisor/refusal.ts';
import { pidFile, stopProcess, supervisorFile } from '../supervisor/supervisor.ts';
import {
  type ClusterDescription,
  type ClusterOptions,
  createCluster,
  findCluster,
  moveMount,
  removeUnfinished,
} from './description.ts';
import { mainOf, root } from './mains.ts';
import { clusterStatus, isMounted, notReady } from './status.ts';
import { inTurn } from './turn.ts';

/** First start: key-value stores are made and chains come up; slow disks get time. */
const readyMs = 60_000;
/** Longest orderly stop of all processes, one role after another. */
const downMs = 90_000;
/** A supervisor that has stopped everything ends within a moment, even on a busy machine. */
const goneMs = 5_000;

/**
 * The cluster of that folder, made if there is none. Refuses a folder that holds something else. A cluster that exists
 * keeps what it was made with; of what is `asked` for by name, the mount may move, anything else is refused.
 */
export function prepareCluster(
  options: ClusterOptions,
  asked: AskedOptions = new Set(),
): Promise<ClusterDescription> {
  return inTurn(options.directory, () => findOrMake(options, asked));
}

function findOrMake(options: ClusterOptions, asked: AskedOptions): ClusterDescription {
  const found = findCluster(options.directory);
  if (found !== undefined) return adapt(found, options, asked);
  removeUnfinished(options.directory);
  if (existsSync(options.directory) && readdirSync(options.directory).length > 0) {
    throw new FsError(
      'EXISTS',
      `${options.directory} is not empty and holds no cluster; choose another --dir`,
    );
  }
  requireSpace(options);
  return createCluster(options, (cluster) => initializeManager(cluster, options));
}

/** What processes allocate before they serve, so that a full disk stops none of them (P8), and 64 MiB to begin with. */
function requireSpace(options: ClusterOptions): void {
  const targets = options.nodes * options.targetsPerDisk;
  const wantedMiB = (targets + reservesOfServices + 1) * reserveMiB;
  let place = resolve(options.directory);
  while (!existsSync(place)) place = dirname(place);
  const { bavail, bsize } = statfsSync(place);
  const freeMiB = Math.floor((bavail * bsize) / (1 << 20));
  if (freeMiB >= wantedMiB) return;
  throw new FsError(
    'NO_SPACE',
    `a new cluster needs ${wantedMiB} MiB in ${options.directory}, ${freeMiB} MiB are free; make room, or choose another --dir`,
  );
}

/** Of each target, the manager, the metadata's log and its store. */
const reserveMiB = 64;
const reservesOfServices = 3;

/** Options that were given, not left to their defaults. */
export type AskedOptions = ReadonlySet<keyof ClusterOptions>;

function initializeManager(cluster: ClusterDescription, options: ClusterOptions): void {
  const manager = cluster.processes.find((spec) => spec.role === 'manager');
  if (manager === undefined) throw new FsError('INTERNAL', 'a cluster without a manager');
  const parameters = [
    ['--config', manager.configPath],
    ['--nodes', String(options.nodes)],
    ['--targets-per-disk', String(options.targetsPerDisk)],
    ['--replicas', String(options.replicas)],
    ...(options.domains === undefined ? [] : [['--domains', options.domains.join(',')]]),
  ];
  const made = spawnSync(process.execPath, [mainOf('manager'), 'init', ...parameters.flat()], {
    encoding: 'utf8',
  });
  if (made.status !== 0)
    throw new FsError('BAD_CONFIG', `the manager's first state was not made: ${made.stderr.trim()}`);
}

function adapt(
  cluster: ClusterDescription,
  options: ClusterOptions,
  asked: AskedOptions,
): ClusterDescription {
  const has = {
    basePort: Number(cluster.manager.slice(cluster.manager.lastIndexOf(':') + 1)),
    nodes: cluster.processes.filter((spec) => spec.role === 'storage').length,
    replicas: cluster.replicas,
    targetsPerDisk: cluster.targetsPerDisk,
  };
  for (const name of ['basePort', 'nodes', 'replicas', 'targetsPerDisk'] as const) {
    if (!asked.has(name) || options[name] === has[name]) continue;
    throw new FsError(
      'INVALID_ARGUMENT',
      `the cluster in ${cluster.directory} was made with ${name} ${has[name]}, not ${options[name]}; leave the option out, or use another --dir`,
    );
  }
  const mountpoint = options.mountpoint === undefined ? undefined : resolve(options.mountpoint);
  if (!asked.has('mountpoint') || mountpoint === cluster.mountpoint) return cluster;
  if (load(supervisorFile(cluster)) !== undefined) {
    const where = cluster.mountpoint === undefined ? 'without a mount' : `mounted at ${cluster.mountpoint}`;
    throw new FsError(
      'ALREADY_RUNNING',
      `the cluster in ${cluster.directory} runs ${where}; stop it first: catena down --dir ${options.directory}`,
    );
  }
  return moveMount(cluster, mountpoint);
}

/** The mount point, made if it is missing; a dead mount there is left to the mount's own process, which clears it. */
function makeMountpoint(cluster: ClusterDescription): void {
  const { mountpoint } = cluster;
  if (mountpoint === undefined || isMounted(mountpoint)) return;
  try {
    mkdirSync(mountpoint, { recursive: true });
  } catch (error) {
    throw fromSystemError(error, `making the mount point ${mountpoint}`);
  }
  if (readdirSync(mountpoint).length > 0) {
    throw new FsError('EXISTS', `${mountpoint} is not empty; choose another --mount, or empty it`);
  }
}

/** Refuses, before anything is started, if another program holds one of the cluster's ports. */
async function requireFreePorts(cluster: ClusterDescription): Promise<void> {
  for (const spec of cluster.processes) {
    if (load(pidFile(cluster, spec)) !== undefined) continue; // it is ours that listens
    for (const address of [spec.address, spec.http]) {
      if (address === undefined || !(await isListening(address))) continue;
      const what = `port ${address} (for ${spec.name}) is taken`;
      throw new FsError(
        'ALREADY_RUNNING',
        `${what}; stop what uses it, or choose another --base-port for a new --dir`,
      );
    }
  }
}

function isListening(address: string): Promise<boolean> {
  const at = address.lastIndexOf(':');
  return new Promise((resolve) => {
    const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)) });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Starts a supervisor by `start`, if none lives; whether it did. ALREADY_RUNNING, and nothing is started, if another
 * program holds one of the cluster's ports.
 */
export function startOnce(cluster: ClusterDescription, start: () => void): Promise<boolean> {
  return inTurn(cluster.directory, async () => {
    if (load(supervisorFile(cluster)) !== undefined) return false;
    await requireFreePorts(cluster);
    makeMountpoint(cluster);
    start();
    return true;
  });
}

/** Starts a supervisor that outlives this process. */
export function spawnSupervisor(cluster: ClusterDescription): void {
  forgetRefusals(cluster);
  const logFile = openSync(join(cluster.directory, 'logs', 'supervisor.log'), 'a');
  const child = spawn(
    process.execPath,
    [join(root, 'cli/dist/main.js'), 'node', '--dir', cluster.directory],
    {
      detached: true,
      stdio: ['ignore', logFile, logFile],
    },
  );
  closeSync(logFile);
  child.unref();
  // Its own entry, made here already: whoever stops the cluster from now on finds it.
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity !== undefined) store(supervisorFile(cluster), identity);
}

/** Resolves when the whole cluster serves; else an error that names what does not, and the log to read. */
export async function waitUntilReady(cluster: ClusterDescription, stop?: AbortSignal): Promise<void> {
  const deadline = performance.now() + readyMs;
  for (;;) {
    const missing = notReady(await clusterStatus(cluster));
    if (missing === undefined) return;
    const refusal = findRefusal(cluster);
    if (refusal !== undefined) throw new FsError('BAD_CONFIG', refusal);
    if (stop?.aborted === true) throw new FsError('CANCELLED', 'stopped while starting');
    if (performance.now() > deadline) {
      throw new FsError(
        'TIMED_OUT',
        `the cluster is not ready after ${readyMs / 1000} s: ${missing}; see ${join(cluster.directory, 'logs')}`,
      );
    }
    await sleep(50);
  }
}

/** Stops the supervisor and with it everything; without a supervisor, the processes that it left. */
export async function stopCluster(cluster: ClusterDescription): Promise<boolean> {
  const supervisor = load(supervisorFile(cluster));
  let stopped = false;
  if (supervisor !== undefined) {
    signal(supervisor, 'SIGTERM');
    stopped = true;
    const deadline = performance.now() + downMs;
    while (load(supervisorFile(cluster)) !== undefined) {
      if (performance.now() > deadline) {
        throw new FsError(
          'TIMED_OUT',
          `the supervisor (pid ${supervisor.pid}) did not stop in ${downMs / 1000} s; see ${join(cluster.directory, 'logs')}`,
        );
      }
      await sleep(50);
    }
    // It has let go of everything and ends. A command that ran it in the foreground may have more to say.
    for (const until = performance.now() + goneMs; isAlive(supervisor) && performance.now() < until; ) {
      await sleep(20);
    }
  }
  for (const role of ['mount', 'meta', 'storage', 'manager']) {
    for (const spec of cluster.processes.filter((each) => each.role === role)) {
      const identity = load(pidFile(cluster, spec));
      if (identity !== undefined) stopped = true;
      await stopProcess(identity);
    }
  }
  return stopped;
}
