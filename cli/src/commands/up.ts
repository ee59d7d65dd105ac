// catena up: makes the cluster of a folder if there is none, starts it, and waits until it serves. With -d it
// leaves it running.
import { once } from 'node:events';
import { bootMsFromProc, createLogger, realClock } from '@catena/core';
import type { Command } from 'commander';
import type { ClusterDescription, ClusterOptions } from '../cluster/description.ts';
import {
  makeMountpoint,
  prepareCluster,
  requireFreePorts,
  startDetached,
  stopCluster,
  waitUntilReady,
} from '../cluster/start.ts';
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
}

/** The options that describe a new cluster; an existing one keeps what it was made with. */
export function addClusterOptions(command: Command): Command {
  return command
    .option(...directoryOption)
    .option('--mount <dir>', 'where to mount it', 'mnt')
    .option('--no-mount', 'start without a mount')
    .option('--base-port <n>', "the manager's port; the others follow", wholeNumber(1024, 65_000), 7400)
    .option('--nodes <n>', 'storage servers', wholeNumber(1, 8), 3)
    .option('--replicas <n>', 'copies of each chunk', wholeNumber(1, 8), 3)
    .option('--targets-per-disk <n>', 'targets on each data directory', wholeNumber(1, 64), 4);
}

export function clusterOptionsOf(options: UpOptions): ClusterOptions {
  return {
    directory: options.dir,
    mountpoint: options.mount === false ? undefined : options.mount,
    basePort: options.basePort,
    nodes: options.nodes,
    replicas: options.replicas,
    targetsPerDisk: options.targetsPerDisk,
  };
}

export function addUp(program: Command): void {
  addClusterOptions(
    program.command('up').description('start the cluster of a folder, and make it first if there is none'),
  )
    .option('-d, --detach', 'leave it running and return')
    .action(async (options: UpOptions & { detach?: true }) => {
      const cluster = prepareCluster(clusterOptionsOf(options));
      await requireFreePorts(cluster);
      makeMountpoint(cluster);
      if (options.detach === true || load(supervisorFile(cluster)) !== undefined) {
        const ran = load(supervisorFile(cluster)) !== undefined;
        startDetached(cluster);
        try {
          await waitUntilReady(cluster);
        } catch (error) {
          if (!ran) await stopCluster(cluster); // nothing is left half started
          throw error;
        }
        printReady(cluster);
        return;
      }
      const stop = await superviseHere(cluster);
      printReady(cluster);
      console.log('Ctrl-C stops it; the data stay.');
      await untilInterrupted();
      await stop();
    });
}

/** Runs the supervisor in this process, waits until the cluster serves, and returns how to stop it. */
export async function superviseHere(cluster: ClusterDescription): Promise<() => Promise<void>> {
  const logger = createLogger({ process: 'supervisor', clock: realClock(bootMsFromProc), level: 'error' });
  const supervisor = new Supervisor(cluster, logger);
  supervisor.start();
  const interrupted = new AbortController();
  const onSignal = (): void => interrupted.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    await waitUntilReady(cluster, interrupted.signal);
  } catch (error) {
    await supervisor.stop();
    throw error;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
  return () => supervisor.stop();
}

/** Resolves at Ctrl-C or SIGTERM. */
export async function untilInterrupted(): Promise<void> {
  // A pending signal handler alone does not keep Node alive.
  const alive = setInterval(() => undefined, 60_000);
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  clearInterval(alive);
}

function printReady(cluster: ClusterDescription): void {
  const manager = cluster.processes.find((spec) => spec.role === 'manager');
  console.log(`${cluster.name} is up: status at http://${manager?.http}/`);
  if (cluster.mountpoint !== undefined) console.log(`mounted at ${cluster.mountpoint}`);
}
