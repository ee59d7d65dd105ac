// `init`: the first state of a cluster, from nodes × disks × targets. Refuses a directory that holds one.
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { exitCodes, FsError, message, readConfig, realRandom } from '@catena/core';
import { DirectoryLock } from '@catena/native';
import { managerConfigSchema } from './config.ts';
import { type Placement, placeChains } from './placement.ts';
import { featureLevel, hasState, openStateStore, recordVersion } from './state.ts';

const usage =
  'init --config FILE [--nodes 3] [--disks-per-node 1] [--targets-per-disk 4] [--replicas 3] ' +
  '[--domains A,B,...] [--cluster NAME]';

export interface InitOptions {
  readonly stateDirectory: string;
  readonly cluster: string;
  readonly nodes: number;
  readonly disksPerNode: number;
  readonly targetsPerDisk: number;
  readonly replicas: number;
  /** Failure domain of each node, in their order; absent: each is its own. */
  readonly domains?: readonly string[];
}

/** Nothing is written unless everything is right. */
export function initialize(options: InitOptions): Placement {
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
  const lock = DirectoryLock.acquire(options.stateDirectory);
  try {
    if (hasState(options.stateDirectory)) {
      throw new FsError('EXISTS', `${options.stateDirectory} holds the state of a cluster already`);
    }
    openStateStore(options.stateDirectory).save({
      recordVersion,
      cluster: options.cluster,
      featureLevel,
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
      changes: [],
      closed: [],
    });
  } finally {
    lock.release();
  }
  return placement;
}

/** The command: one line of result, or one line of what is wrong. */
export function runInit(args: readonly string[]): void {
  try {
    const options = optionsOf(args);
    const { chains, spare } = initialize(options);
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
