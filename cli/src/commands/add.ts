// catena add: a storage server more on this machine, a data directory more of one, or a drained one open again; its
// share of the replicas moves there.
import { setTimeout as sleep } from 'node:timers/promises';
import { FsError, message } from '@catena/core';
import type { Command } from 'commander';
import { nodeOf, orderChange } from '../cluster/changes.ts';
import {
  type ClusterDescription,
  type ProcessSpec,
  requireCluster,
  saveCluster,
} from '../cluster/description.ts';
import {
  nextServer,
  requireServer,
  saveChangedServer,
  saveServer,
  withDisk,
  withDiskOrdered,
  withServer,
} from '../cluster/servers.ts';
import { requirePage } from '../cluster/status.ts';
import { inTurn } from '../cluster/turn.ts';
import { load, type ProcessIdentity, signal } from '../supervisor/process-identity.ts';
import { pidFile, supervisorFile } from '../supervisor/supervisor.ts';
import { carryOut, type WaitOptions, waitOption } from './carry-out.ts';
import { directoryOption } from './options.ts';

interface AddOptions extends WaitOptions {
  dir: string;
  disk?: true;
  domain?: string;
}

/** An orderly stop of a storage server and its start with more disks. */
const restartMs = 60_000;
const pollMs = 200;

export function addAdd(program: Command): void {
  program
    .command('add')
    .description('add a storage server, or a data directory to one; its share of the replicas moves there')
    .argument('[node]', 'a storage node that is there: opens it again, or with --disk gives it one more')
    .option(...directoryOption)
    .option('--disk', 'a data directory more of that node, which restarts for it')
    .option('--domain <label>', 'failure domain of the new server; without: it is its own')
    .option(...waitOption)
    .option('--json', 'print JSON')
    .action(async (node: string | undefined, options: AddOptions) => {
      const reply = await inTurn(options.dir, () => add(requireCluster(options.dir), node, options));
      const cluster = requireCluster(options.dir);
      await carryOut(cluster, reply, options);
      // Before it is done, nobody knows what the new place is worth.
      if (options.wait === true && options.json !== true) await tellOfGrowth(cluster);
    });
}

async function tellOfGrowth(cluster: ClusterDescription): Promise<void> {
  const tables = (await requirePage(cluster, 'tables')) as { missing: number | null }[];
  const missing = tables.reduce((most, table) => Math.max(most, table.missing ?? 0), 0);
  if (missing > 0) console.log(`${missing} more chains are possible: catena grow`);
}

async function add(
  cluster: ClusterDescription,
  node: string | undefined,
  options: AddOptions,
): Promise<message.ChangeReply> {
  const action = message.ChangeAction.ACTION_ADD;
  if (options.disk === true) {
    if (node === undefined)
      throw new FsError('INVALID_ARGUMENT', 'name the node that gets the disk: catena add 2 --disk');
    const place = await addDisk(cluster, nodeOf(node));
    const reply = await orderChange(cluster, { action, place });
    saveCluster(withDiskOrdered(requireCluster(options.dir), place.node));
    return reply;
  }
  if (node !== undefined) {
    return orderChange(cluster, { action, place: { node: nodeOf(node), disk: undefined } });
  }
  const number = nextServer(cluster);
  // The manager first: what it refuses is not started.
  const place = { node: number, disk: undefined };
  const reply = await orderChange(cluster, { action, place, domain: options.domain ?? '' });
  saveServer(withServer(cluster, number, options.domain), number);
  return reply;
}

/** Until the manager has heard of the new disk: of the one that an interrupted `add --disk` made, if there is one. */
async function addDisk(cluster: ClusterDescription, node: number): Promise<message.Place> {
  const spec = requireServer(cluster, node);
  const isBegun = spec.isDiskPending === true;
  const disk = (spec.disks ?? 1) - (isBegun ? 1 : 0);
  const running = await runningProcess(cluster, spec);
  if (!isBegun) saveChangedServer(withDisk(cluster, node), node);
  if (!isBegun || !(await isKnown(cluster, node, disk))) signal(running, 'SIGTERM');
  const deadline = performance.now() + restartMs;
  while (!(await isKnown(cluster, node, disk))) {
    if (performance.now() > deadline) {
      throw new FsError(
        'TIMED_OUT',
        `${spec.name} did not come back with its new disk; see logs/${spec.name}.log, then give the same command again`,
      );
    }
    await sleep(pollMs);
  }
  return { node, disk };
}

/** Of a server. Its supervisor may be starting it again just now: an interrupted `add --disk` ended it. */
async function runningProcess(cluster: ClusterDescription, spec: ProcessSpec): Promise<ProcessIdentity> {
  const deadline = performance.now() + restartMs;
  for (;;) {
    const running = load(pidFile(cluster, spec));
    if (running !== undefined) return running;
    const isSupervised = load(supervisorFile(cluster)) !== undefined;
    if (!isSupervised || performance.now() > deadline)
      throw new FsError('UNREACHABLE', `${spec.name} does not run; start it with: catena up`);
    await sleep(pollMs);
  }
}

/** The manager has heard of it from the living node. */
async function isKnown(cluster: ClusterDescription, node: number, disk: number): Promise<boolean> {
  const nodes = (await requirePage(cluster, 'nodes')) as {
    kind: string;
    id: number;
    alive: boolean;
    disks: number;
  }[];
  const own = nodes.find((other) => other.kind === 'storage' && other.id === node);
  return own?.alive === true && own.disks > disk;
}
