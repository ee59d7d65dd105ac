// catena up: makes the cluster of a folder if there is none, starts it, and waits until it serves. With -d it
// leaves it running.
import { bootMsFromProc, createLogger, FsError, realClock } from '@catena/core';
import type { Command } from 'commander';
import type { ClusterDescription, ClusterOptions } from '../cluster/description.ts';
import { prepareCluster, spawnSupervisor, startOnce, stopCluster, waitUntilReady } from '../cluster/start.ts';
import { load } from '../supervisor/process-identity.ts';
import { Supervisor, supervisorFile } from '../supervisor/supervisor.ts';
import { directoryOption, wholeNumber } from './options.ts';

export interface UpOptions {
  dir: string;
  mount: string | false;
  basePort: number;
  nodes: number;
  replicas: number;
  targetsPerDisk: number;
  domains?: string;
  managers: number;
  etcd?: string[];
}

/** The options that describe a new cluster; an existing one keeps what it was made with, but for its mount. */
export function addClusterOptions(command: Command): Command {
  return command
    .option(...directoryOption)
    .option('--mount <dir>', 'where to mount it', 'mnt')
    .option('--no-mount', 'start without a mount')
    .option('--base-port <n>', "the manager's port; the others follow", wholeNumber(1024, 65_000), 7400)
    .option('--nodes <n>', 'storage servers', wholeNumber(1, 8), 3)
    .option('--replicas <n>', 'copies of each chunk', wholeNumber(1, 8), 3)
    .option('--targets-per-disk <n>', 'targets on each data directory', wholeNumber(1, 64), 4)
    .option('--domains <a,b,...>', 'failure domain of each storage server; without: each is its own')
    .option('--managers <n>', 'managers, of which an etcd elects one', wholeNumber(1, 5), 1)
    .option('--etcd <url...>', 'members of the etcd that keeps the state of the managers');
}

export function clusterOptionsOf(options: UpOptions): ClusterOptions {
  return {
    directory: options.dir,
    mountpoint: options.mount === false ? undefined : options.mount,
    basePort: options.basePort,
    nodes: options.nodes,
    replicas: options.replicas,
    targetsPerDisk: options.targetsPerDisk,
    domains: options.domains?.split(',').map((domain) => domain.trim()),
    managers: options.managers,
    ...(options.etcd === undefined ? {} : { etcd: options.etcd }),
  };
}

/** What the user typed; commander knows it of each option. */
export function askedOf(command: Command): Set<keyof ClusterOptions> {
  const names: [string, keyof ClusterOptions][] = [
    ['mount', 'mountpoint'],
    ['basePort', 'basePort'],
    ['nodes', 'nodes'],
    ['replicas', 'replicas'],
    ['targetsPerDisk', 'targetsPerDisk'],
    ['domains', 'domains'],
  ];
  const typed = names.filter(([option]) => command.getOptionValueSource(option) === 'cli');
  return new Set(typed.map(([, name]) => name));
}

export function addUp(program: Command): void {
  addClusterOptions(
    program.command('up').description('start the cluster of a folder, and make it first if there is none'),
  )
    .option('-d, --detach', 'leave it running and return')
    .action(async (options: UpOptions & { detach?: true }, command: Command) => {
      const cluster = await prepareCluster(clusterOptionsOf(options), askedOf(command));
      if (options.detach === true || load(supervisorFile(cluster)) !== undefined) {
        const isOurs = await startOnce(cluster, () => spawnSupervisor(cluster));
        try {
          await waitUntilReady(cluster);
        } catch (error) {
          if (isOurs) await stopCluster(cluster); // nothing is left half started
          throw error;
        }
        printReady(cluster);
        return;
      }
      await superviseWhile(cluster, async (stop) => {
        printReady(cluster);
        console.log('Ctrl-C stops it; the data stay.');
        await untilAborted(stop);
      });
    });
}

/**
 * Runs the supervisor in this process, waits until the cluster serves, and then `use`. Ctrl-C or SIGTERM, whenever it
 * comes, aborts `use`; whatever happens, every process is stopped and the mount is gone when this returns. `announce`
 * is called first.
 */
export async function superviseWhile(
  cluster: ClusterDescription,
  use: (stop: AbortSignal) => Promise<void>,
  announce: () => void = () => undefined,
): Promise<void> {
  const logger = createLogger({ process: 'supervisor', clock: realClock(bootMsFromProc), level: 'error' });
  const supervisor = new Supervisor(cluster, logger);
  const interrupted = new AbortController();
  const onSignal = (): void => interrupted.abort();
  for (const name of stopSignals) process.on(name, onSignal);
  try {
    announce();
    if (!(await startOnce(cluster, () => supervisor.start()))) {
      throw new FsError(
        'ALREADY_RUNNING',
        `the cluster in ${cluster.directory} was started by another command; give this one again`,
      );
    }
    try {
      await waitUntilReady(cluster, interrupted.signal);
      await use(interrupted.signal);
    } catch (error) {
      if (!interrupted.signal.aborted) throw error;
    } finally {
      console.log('stopping; the data stay');
      await supervisor.stop();
    }
  } finally {
    for (const name of stopSignals) process.off(name, onSignal);
  }
}

const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Resolves when the signal is aborted. */
export function untilAborted(stop: AbortSignal): Promise<void> {
  // A pending signal handler alone does not keep Node alive.
  const alive = setInterval(() => undefined, 60_000);
  return new Promise((resolve) => {
    const done = (): void => {
      clearInterval(alive);
      resolve();
    };
    if (stop.aborted) done();
    else stop.addEventListener('abort', done, { once: true });
  });
}

/** Resolves at Ctrl-C or SIGTERM. */
export function untilInterrupted(): Promise<void> {
  const interrupted = new AbortController();
  for (const name of stopSignals) process.once(name, () => interrupted.abort());
  return untilAborted(interrupted.signal);
}

function printReady(cluster: ClusterDescription): void {
  const manager = cluster.processes.find((spec) => spec.role === 'manager');
  console.log(`${cluster.name} is up: status at http://${manager?.http}/`);
  if (cluster.mountpoint !== undefined) console.log(`mounted at ${cluster.mountpoint}`);
}
