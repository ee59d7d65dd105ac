// `init`: the first state of a cluster, from nodes × disks × targets. Refuses a directory that holds one.
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  Etcd,
  exitCodes,
  FsError,
  featureLevelOldest,
  message,
  openEtcdStore,
  readConfig,
  realClock,
  realRandom,
  sleep,
} from '@catena/core';
import { bootClockMs, DirectoryLock } from '@catena/native';
import { checkManagerConfig, managerConfigSchema } from './config.ts';
import { EtcdState } from './etcd-state.ts';
import { type Placement, placeChains } from './placement.ts';
import { hasState, openStateStore, recordVersion } from './state.ts';

const usage =
  'init --config FILE [--nodes 3] [--disks-per-node 1] [--targets-per-disk 4] [--replicas 3] ' +
  '[--domains A,B,...] [--cluster NAME]';

export interface InitOptions {
  /** Empty: the state is in etcd. */
  readonly stateDirectory: string;
  readonly etcd?: readonly string[];
  readonly etcdPrefix?: string;
  readonly cluster: string;
  readonly nodes: number;
  readonly disksPerNode: number;
  readonly targetsPerDisk: number;
  readonly replicas: number;
  /** Failure domain of each node, in their order; absent: each is its own. */
  readonly domains?: readonly string[];
}

/** Nothing is written unless everything is right. */
export async function initialize(options: InitOptions): Promise<Placement> {
  const nodes = Array.from({ length: options.nodes }, (_, index) => ({
    node: index + 1,
    disks: options.disksPerNode,
    domain: options.domains?.[index] ?? '',
  }));
  const placement = placeChains({
    nodes,
    targetsPerDisk: options.targetsPerDisk,
    replicas: options.replicas,
  });
  const record: message.ManagerRecord = {
    recordVersion,
    cluster: options.cluster,
    featureLevel: featureLevelOldest,
    routingVersion: 1n,
    nodes: nodes.map(({ node, disks, domain }) =>
      message.Node.fromPartial({
        id: node,
        kind: message.NodeKind.NODE_STORAGE,
        alive: false,
        disks,
        domain,
      }),
    ),
    chains: placement.chains,
    tables: [placement.table],
    clients: [],
    fencedClients: [],
    fencingClients: [],
    changes: [],
    closed: [],
    targetsPerDisk: options.targetsPerDisk,
  };
  if (options.stateDirectory === '') await storeInEtcd(options, record);
  else await storeInDirectory(options.stateDirectory, record);
  return placement;
}

async function storeInDirectory(directory: string, record: message.ManagerRecord): Promise<void> {
  const lock = DirectoryLock.acquire(directory);
  try {
    if (hasState(directory)) throw new FsError('EXISTS', `${directory} holds the state of a cluster already`);
    await openStateStore(directory).save(record);
  } finally {
    lock.release();
  }
}

/** How long an etcd that was just started may take to answer. */
const etcdMs = 10_000;

async function storeInEtcd(options: InitOptions, record: message.ManagerRecord): Promise<void> {
  const clock = realClock(bootClockMs);
  const prefix = options.etcdPrefix ?? '';
  const etcd = await Etcd.open(options.etcd ?? [], clock);
  try {
    const deadlineMs = clock.nowMs() + etcdMs;
    for (;;) {
      try {
        await etcd.get(Buffer.from(prefix));
        break;
      } catch (error) {
        if (clock.nowMs() > deadlineMs) throw error;
        await sleep(clock, 100);
      }
    }
    const store = await openEtcdStore(etcd, {
      prefix: `${prefix}/state`,
      clock,
      signal: AbortSignal.timeout(etcdMs),
    });
    if (store.position > 0n)
      throw new FsError('EXISTS', `etcd holds the state of a cluster below "${prefix}" already`);
    await new EtcdState(store, undefined).save(record);
    await store.close();
  } finally {
    etcd.close();
  }
}

/** The command: one line of result, or one line of what is wrong. */
export async function runInit(args: readonly string[]): Promise<void> {
  try {
    const options = optionsOf(args);
    const { chains, spare } = await initialize(options);
    const left = spare === 0 ? '' : `; ${spare} targets are in no chain`;
    writeSync(
      1,
      `cluster "${options.cluster}": ${options.nodes} nodes, ${chains.length} chains of ${options.replicas}${left}\n`,
    );
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    writeSync(2, `cluster-manager init: ${error.message}\n`);
    process.exitCode = error.code === 'BAD_CONFIG' ? exitCodes.badConfig : exitCodes.failedStart;
  }
}

function optionsOf(args: readonly string[]): InitOptions {
  let values: Record<string, string | undefined>;
  const text = { type: 'string' } as const;
  try {
    const options = {
      config: text,
      nodes: text,
      'disks-per-node': text,
      'targets-per-disk': text,
      replicas: text,
      domains: text,
      cluster: text,
    };
    values = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new FsError(
      'BAD_CONFIG',
      `${error instanceof Error ? error.message : String(error)}; usage: ${usage}`,
    );
  }
  if (values.config === undefined) throw new FsError('BAD_CONFIG', `--config is missing; usage: ${usage}`);
  const config = readConfig(managerConfigSchema, values.config);
  checkManagerConfig(config);
  const number = (name: string, usual: number): number => {
    const value = values[name];
    if (value === undefined) return usual;
    if (!/^\d{1,6}$/.test(value))
      throw new FsError('BAD_CONFIG', `--${name} must be a number, not "${value}"`);
    return Number(value);
  };
  const nodes = number('nodes', 3);
  const generated = `catena-${realRandom.bytes(4).toString('hex')}`;
  return {
    stateDirectory: config.stateDirectory,
    etcd: config.etcd,
    etcdPrefix: config.etcdPrefix,
    cluster: values.cluster ?? (config.cluster === '' ? generated : config.cluster),
    nodes,
    disksPerNode: number('disks-per-node', 1),
    targetsPerDisk: number('targets-per-disk', 4),
    replicas: number('replicas', Math.min(3, nodes)),
    ...(values.domains === undefined ? {} : { domains: domainsOf(values.domains, nodes) }),
  };
}

function domainsOf(text: string, nodes: number): string[] {
  const domains = text.split(',').map((domain) => domain.trim());
  if (domains.length !== nodes) {
    throw new FsError(
      'BAD_CONFIG',
      `--domains names ${domains.length} domains for ${nodes} nodes: one for each`,
    );
  }
  return domains;
}
