// The supervisor of one host (P28): starts the cluster's processes, restarts those that end, tells the
// manager of each exit until it confirms (P1 b), and stops them in order. It loads no native code, so that
// nothing but Node can kill it; its children outlive it, and the next supervisor finds them by their pid
// files.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodes, FsError, type Logger } from '@catena/core';
import { type ClusterDescription, findCluster, type ProcessSpec, type Role } from '../cluster/description.ts';
import { mainOf } from '../cluster/mains.ts';
import { managersOf } from '../cluster/managers.ts';
import { afterExit, type BackOff, fresh } from './back-off.ts';
import { ExitReporter } from './exit-reporter.ts';
import { logCheckMs, rotateLogs } from './logs.ts';
import { forget, identify, isAlive, load, type ProcessIdentity, signal, store } from './process-identity.ts';
import { forgetRefusals, noteRefusal } from './refusal.ts';

/** How often an adopted process, which is not our child, is looked at. */
const adoptedPollMs = 500;
/** How often the description is looked at: `catena add` and `remove` change which processes there are. */
const descriptionPollMs = 1_000;
/** An orderly stop flushes disks; past this the process is killed, and its journal brings its data back. */
const stopMs = 20_000;
/** Users first, so that each finds what it needs while it stops. */
const stopOrder: readonly Role[] = ['mount', 'meta', 'storage', 'manager'];

/** Exit codes of a process that will not start until somebody changes something. */
const refusals: readonly number[] = [exitCodes.failedStart, exitCodes.badConfig];

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

interface Watched {
  readonly spec: ProcessSpec;
  identity: ProcessIdentity | undefined;
  backOff: BackOff;
  restarts: number;
  /** The description does not name it any more. */
  removed: boolean;
}

export class Supervisor {
  readonly #cluster: ClusterDescription;
  #watched: Watched[];
  readonly #exits: ExitReporter;
  readonly #logger: Logger;
  readonly #loops: Promise<void>[] = [];
  #logCheck: NodeJS.Timeout | undefined;
  #descriptionCheck: NodeJS.Timeout | undefined;
  #stopping = false;
  #wake = new AbortController();

  constructor(cluster: ClusterDescription, logger: Logger) {
    this.#cluster = cluster;
    this.#logger = logger;
    this.#exits = new ExitReporter(managersOf(cluster), logger);
    this.#watched = cluster.processes.map(watchedOf);
  }

  /** Takes the cluster's only place for a supervisor, then starts or adopts every process. */
  start(): void {
    const path = supervisorFile(this.#cluster);
    const other = load(path);
    if (other !== undefined && other.pid !== process.pid) {
      throw new FsError(
        'ALREADY_RUNNING',
        `the cluster in ${this.#cluster.directory} is supervised by process ${other.pid}`,
      );
    }
    const own = identify(process.pid);
    if (own === undefined) throw new FsError('INTERNAL', 'this process is not in /proc');
    store(path, own);
    forgetRefusals(this.#cluster);
    this.#logCheck = setInterval(() => rotateLogs(this.#cluster), logCheckMs);
    this.#descriptionCheck = setInterval(() => this.#followDescription(), descriptionPollMs);
    for (const watched of this.#watched) this.#loops.push(this.#keep(watched));
  }

  /** Starts what was added to the cluster since, and stops what was removed. */
  #followDescription(): void {
    let processes: readonly ProcessSpec[];
    try {
      processes = findCluster(this.#cluster.directory)?.processes ?? [];
    } catch (error) {
      this.#logger.error('description.unreadable', { error });
      return;
    }
    // A folder that was taken away says nothing about its processes.
    if (processes.length === 0 || this.#stopping) return;
    for (const watched of this.#watched) {
      if (watched.removed || processes.some((spec) => spec.name === watched.spec.name)) continue;
      watched.removed = true;
      this.#logger.info('process.removed', { process: watched.spec.name });
      void stopProcess(watched.identity);
    }
    this.#watched = this.#watched.filter((watched) => !watched.removed || watched.identity !== undefined);
    for (const spec of processes) {
      if (this.#watched.some((watched) => watched.spec.name === spec.name)) continue;
      const added = watchedOf(spec);
      this.#watched.push(added);
      this.#loops.push(this.#keep(added));
    }
  }

  /** Stops every process in order, users first, and ends. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake.abort();
    clearInterval(this.#descriptionCheck);
    for (const role of stopOrder) {
      const group = this.#watched.filter((watched) => watched.spec.role === role);
      await Promise.all(group.map((watched) => stopProcess(watched.identity)));
    }
    await Promise.all(this.#loops);
    this.#exits.close();
    clearInterval(this.#logCheck);
    forget(supervisorFile(this.#cluster));
  }

  async #keep(watched: Watched): Promise<void> {
    while (!this.#stopping && !watched.removed) {
      const started = performance.now();
      try {
        await this.#runOnce(watched);
      } catch (error) {
        // A full disk, most likely: the supervisor must outlive it, and tries again like after any other end.
        this.#logger.error('process.unstartable', { process: watched.spec.name, error });
      }
      if (this.#stopping || watched.removed) return;
      watched.restarts += 1;
      const next = afterExit(watched.backOff, performance.now() - started);
      watched.backOff = next.state;
      this.#logger.warning('process.restart', {
        process: watched.spec.name,
        waitMs: next.waitMs,
        restarts: watched.restarts,
      });
      await sleep(next.waitMs, undefined, { signal: this.#wake.signal }).catch(() => undefined);
    }
  }

  /** One life of a process, from its start or adoption to its end. */
  async #runOnce(watched: Watched): Promise<void> {
    const path = pidFile(this.#cluster, watched.spec);
    const adopted = load(path);
    if (adopted !== undefined) {
      watched.identity = adopted;
      this.#logger.info('process.adopted', { process: watched.spec.name, pid: adopted.pid });
      while (isAlive(adopted)) await sleep(adoptedPollMs);
    } else {
      const { pid, exited } = launch(this.#cluster, watched.spec);
      watched.identity = identify(pid);
      // Without its file the next supervisor would start a second one; so without it this one must not live.
      if (watched.identity !== undefined) storeOrEnd(path, watched.identity);
      this.#logger.info('process.started', { process: watched.spec.name, pid });
      const how = await exited;
      this.#logger.warning('process.exited', {
        process: watched.spec.name,
        pid,
        how: how.signal ?? how.code,
      });
      if (how.code !== null && refusals.includes(how.code)) noteRefusal(this.#cluster, watched.spec);
      this.#exits.report(watched.spec, watched.identity ?? { pid });
    }
    watched.identity = undefined;
    forget(path);
  }
}

function watchedOf(spec: ProcessSpec): Watched {
  return { spec, identity: undefined, backOff: fresh, restarts: 0, removed: false };
}

function launch(cluster: ClusterDescription, spec: ProcessSpec): { pid: number; exited: Promise<Exit> } {
  const logPath = join(cluster.directory, 'logs', `${spec.name}.log`);
  const logFile = openSync(logPath, 'a');
  const child = spawn(process.execPath, [mainOf(spec.role), '--config', spec.configPath], {
    cwd: cluster.directory,
    // A session of its own: the terminal's Ctrl-C reaches the supervisor alone, which stops its children in
    // order.
    detached: true,
    stdio: ['ignore', logFile, logFile],
  });
  closeSync(logFile);
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, name) => resolve({ code, signal: name }));
    child.once('error', () => resolve({ code: exitCodes.failedStart, signal: null }));
  });
  return { pid: child.pid ?? 0, exited };
}

function storeOrEnd(path: string, identity: ProcessIdentity): void {
  try {
    store(path, identity);
  } catch (error) {
    signal(identity, 'SIGKILL');
    throw error;
  }
}

/** Asks a process to stop, and kills it if it does not within `stopMs`. */
export async function stopProcess(identity: ProcessIdentity | undefined): Promise<void> {
  if (identity === undefined || !signal(identity, 'SIGTERM')) return;
  const deadline = performance.now() + stopMs;
  while (isAlive(identity)) {
    if (performance.now() > deadline) {
      signal(identity, 'SIGKILL');
    }
    await sleep(50);
  }
}

export function supervisorFile(cluster: ClusterDescription): string {
  return join(cluster.directory, 'run', 'supervisor.pid');
}

export function pidFile(cluster: ClusterDescription, spec: ProcessSpec): string {
  return join(cluster.directory, 'run', `${spec.name}.pid`);
}
