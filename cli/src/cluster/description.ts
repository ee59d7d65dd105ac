// What a cluster of one machine consists of: its processes, where their files are, and which ports they use.
// Written by the first `up`, as cluster.json in the cluster's folder, and again when servers are added or removed;
// every other command reads it from there.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FsError, fromSystemError } from '@catena/core';
import { type ConfigFile, renderConfigs, renewConfig } from './configs.ts';

export type Role = 'manager' | 'meta' | 'storage' | 'mount';

export interface ProcessSpec {
  /** Unique in the cluster: `manager`, `meta`, `storage-1` ..., `mount`. */
  readonly name: string;
  readonly role: Role;
  /** Node number as the manager knows it; 0 where it knows none. */
  readonly node: number;
  readonly configPath: string;
  /** host:port of its data plane or rpc; a mount has none. */
  readonly address: string | undefined;
  /** host:port of the status pages. */
  readonly http: string;
  /** Data directories of a storage server; absent: one. */
  readonly disks?: number;
  /** The last of them is not ordered at the manager yet: `add --disk` goes on with it. */
  readonly isDiskPending?: true;
  /** Failure domain of a storage server; absent: it is its own. */
  readonly domain?: string;
}

export interface ClusterDescription {
  readonly version: 1;
  readonly name: string;
  readonly directory: string;
  /** The first one; see `managers.ts`. */
  readonly manager: string;
  /** Of a cluster with an etcd: the managers, of which one decides. */
  readonly managers?: readonly string[];
  readonly etcd?: readonly string[];
  readonly mountpoint: string | undefined;
  readonly replicas: number;
  readonly targetsPerDisk: number;
  readonly processes: readonly ProcessSpec[];
}

export interface ClusterOptions {
  readonly directory: string;
  readonly mountpoint: string | undefined;
  readonly basePort: number;
  readonly nodes: number;
  readonly replicas: number;
  readonly targetsPerDisk: number;
  /** Failure domain of each storage server; absent: each is its own. */
  readonly domains?: readonly string[] | undefined;
  /** 1 if it is not said; several need an etcd. */
  readonly managers?: number;
  /** URLs; without any: one manager, whose state is in its folder. */
  readonly etcd?: readonly string[];
}

const host = '127.0.0.1';
/** Ports follow the manager's: metadata +1, further managers from +2 on, storage server N +10+N; each status page is 100 above. */
const httpOffset = 100;

/** The file that says that a folder is a cluster's. */
function fileOf(directory: string): string {
  return join(directory, 'cluster.json');
}

/** The cluster in that folder, or undefined if there is none. */
export function findCluster(directory: string): ClusterDescription | undefined {
  const path = fileOf(resolve(directory));
  if (!existsSync(path)) return undefined;
  let parsed: ClusterDescription;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8')) as ClusterDescription;
  } catch (cause) {
    throw new FsError('BAD_CONFIG', `${path} is no JSON; restore it, or use another --dir`, { cause });
  }
  if (parsed.version !== 1) {
    throw new FsError('NEWER_DATA', `${path} has version ${parsed.version}; this release reads version 1`);
  }
  return parsed;
}

/** The cluster in that folder; without one, an error that says how to make it. */
export function requireCluster(directory: string): ClusterDescription {
  const found = findCluster(directory);
  if (found === undefined) {
    throw new FsError(
      'BAD_CONFIG',
      `no cluster in ${resolve(directory)}; start one with: catena up --dir ${directory}`,
    );
  }
  return found;
}

/** Folders that a cluster has from its first moment; the others are made by the processes. */
const folders = ['config', 'run', 'logs', 'manager', 'meta'] as const;

/** Stands in the folder from the first step of its making until cluster.json takes its place as the last. */
function unfinishedOf(directory: string): string {
  return `${fileOf(directory)}.new`;
}

/** A cluster that was never finished, because its making was ended in the middle: nothing ran, nothing is lost. */
export function removeUnfinished(directory: string): void {
  if (existsSync(fileOf(directory)) || !existsSync(unfinishedOf(directory))) return;
  for (const folder of folders) rmSync(join(directory, folder), { recursive: true, force: true });
  rmSync(unfinishedOf(directory));
}

/**
 * Makes the folder and its configuration files, then what `finish` adds, and cluster.json last, so that a half-made
 * folder is none. Whatever fails takes it away again.
 */
export function createCluster(
  options: ClusterOptions,
  finish: (cluster: ClusterDescription) => void = () => undefined,
): ClusterDescription {
  if (options.replicas > options.nodes) {
    throw new FsError(
      'BAD_CONFIG',
      `${options.replicas} copies need as many storage nodes, there are ${options.nodes}`,
    );
  }
  const { etcd = [] } = options;
  if (managersWanted(options) > 1 && etcd.length === 0) {
    throw new FsError(
      'BAD_CONFIG',
      `${options.managers} managers need an etcd to elect one of them: --etcd http://127.0.0.1:2379`,
    );
  }
  const directory = resolve(options.directory);
  const processes = processesOf(directory, options);
  const managers = processes.flatMap((spec) => (spec.role === 'manager' ? [spec.address ?? ''] : []));
  const description: ClusterDescription = {
    version: 1,
    name: `catena-${Buffer.from(crypto.getRandomValues(new Uint8Array(4))).toString('hex')}`,
    directory,
    manager: `${host}:${options.basePort}`,
    mountpoint: options.mountpoint === undefined ? undefined : resolve(options.mountpoint),
    replicas: options.replicas,
    targetsPerDisk: options.targetsPerDisk,
    ...(etcd.length === 0 ? {} : { managers, etcd }),
    processes,
  };
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(unfinishedOf(directory), '');
    for (const folder of folders) mkdirSync(join(directory, folder), { recursive: true });
    writeConfigs(description);
    finish(description);
    saveCluster(description);
  } catch (error) {
    if (existsSync(directory)) removeUnfinished(directory);
    throw error instanceof FsError ? error : fromSystemError(error, `making a cluster in ${directory}`);
  }
  return description;
}

/** The same cluster mounted elsewhere, or not at all; kept for all later starts. */
export function moveMount(cluster: ClusterDescription, mountpoint: string | undefined): ClusterDescription {
  const others = cluster.processes.filter((spec) => spec.role !== 'mount');
  const basePort = Number(cluster.manager.slice(cluster.manager.lastIndexOf(':') + 1));
  const moved: ClusterDescription = {
    ...cluster,
    mountpoint,
    processes: mountpoint === undefined ? others : [...others, mountOf(cluster.directory, basePort)],
  };
  renewConfigs(moved, (spec) => spec.role === 'mount');
  saveCluster(moved);
  return moved;
}

/** Of processes that are new: whatever stood in their place is gone. */
export function writeConfigs(cluster: ClusterDescription): void {
  store(cluster, renderConfigs(cluster));
}

/** Of some processes that are there: what people have set in the files stays. */
export function renewConfigs(cluster: ClusterDescription, some: (spec: ProcessSpec) => boolean): void {
  store(
    cluster,
    cluster.processes.filter(some).map((spec) => renewConfig(spec, cluster)),
  );
}

function store(cluster: ClusterDescription, files: readonly ConfigFile[]): void {
  for (const { path, text } of files) {
    writeFileSync(`${path}.new`, text, { flush: true });
    renameSync(`${path}.new`, path);
  }
  flushDirectory(join(cluster.directory, 'config'));
}

export function saveCluster(cluster: ClusterDescription): void {
  const path = unfinishedOf(cluster.directory);
  writeFileSync(path, `${JSON.stringify(cluster, undefined, 2)}\n`, { flush: true });
  renameSync(path, fileOf(cluster.directory));
  // What services fsync from now on is worth nothing if a power cut takes the file that says where it is.
  flushDirectory(cluster.directory);
  flushDirectory(dirname(cluster.directory));
}

/** The names in it are on the medium. */
function flushDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function managersWanted(options: ClusterOptions): number {
  return options.managers ?? 1;
}

function processesOf(directory: string, options: ClusterOptions): ProcessSpec[] {
  const config = (name: string): string => join(directory, 'config', `${name}.toml`);
  const http = (offset: number): string => `${host}:${options.basePort + httpOffset + offset}`;
  const port = (offset: number): string => `${host}:${options.basePort + offset}`;
  const storage = Array.from({ length: options.nodes }, (_, index) =>
    storageOf(directory, options.basePort, index + 1, options.domains?.[index]),
  );
  const count = managersWanted(options);
  const managers = Array.from({ length: count }, (_, index): ProcessSpec => {
    const name = count === 1 ? 'manager' : `manager-${index + 1}`;
    const offset = index === 0 ? 0 : index + 1;
    return {
      name,
      role: 'manager',
      node: 0,
      configPath: config(name),
      address: port(offset),
      http: http(offset),
    };
  });
  const processes: ProcessSpec[] = [
    ...managers,
    ...storage,
    {
      name: 'meta',
      role: 'meta',
      node: metaNode,
      configPath: config('meta'),
      address: port(1),
      http: http(1),
    },
  ];
  if (options.mountpoint !== undefined) processes.push(mountOf(directory, options.basePort));
  return processes;
}

/** Storage servers of one machine: the ports of more would meet those of the mount. */
export const storageServersMax = 9;

export function storageOf(directory: string, basePort: number, node: number, domain?: string): ProcessSpec {
  const name = `storage-${node}`;
  return {
    name,
    role: 'storage',
    node,
    configPath: join(directory, `config/${name}.toml`),
    address: `${host}:${basePort + 10 + node}`,
    http: `${host}:${basePort + httpOffset + 10 + node}`,
    ...(domain === undefined || domain === '' ? {} : { domain }),
  };
}

function mountOf(directory: string, basePort: number): ProcessSpec {
  return {
    name: 'mount',
    role: 'mount',
    node: 0,
    configPath: join(directory, 'config/mount.toml'),
    address: undefined,
    http: `${host}:${basePort + httpOffset + 20}`,
  };
}

/** Node number of the metadata service: above those of storage nodes. */
export const metaNode = 1001;
