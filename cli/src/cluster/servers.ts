// Storage servers and data directories that a cluster of this machine gains and loses. The supervisor sees the new
// description within a second, and starts or stops what it must.
import { FsError } from '@catena/core';
import {
  type ClusterDescription,
  type ProcessSpec,
  renewConfigs,
  saveCluster,
  storageOf,
  storageServersMax,
  writeConfigs,
} from './description.ts';

/** Data directories of one server: what its configuration allows. */
const disksMax = 64;

/** The first number that no storage server of the cluster has; numbers of removed ones are free again. */
export function nextServer(cluster: ClusterDescription): number {
  for (let node = 1; node <= storageServersMax; node++) {
    if (!cluster.processes.some((spec) => spec.role === 'storage' && spec.node === node)) return node;
  }
  throw new FsError('INVALID_ARGUMENT', `one machine runs ${storageServersMax} storage servers at most`);
}

export function withServer(cluster: ClusterDescription, node: number, domain?: string): ClusterDescription {
  const basePort = Number(cluster.manager.slice(cluster.manager.lastIndexOf(':') + 1));
  const spec = storageOf(cluster.directory, basePort, node, domain);
  return { ...cluster, processes: [...cluster.processes, spec] };
}

export function withoutServer(cluster: ClusterDescription, node: number): ClusterDescription {
  const leaves = requireServer(cluster, node);
  return { ...cluster, processes: cluster.processes.filter((spec) => spec !== leaves) };
}

/** One data directory more, pending until the manager has the order for it. */
export function withDisk(cluster: ClusterDescription, node: number): ClusterDescription {
  const grows = requireServer(cluster, node);
  const disks = (grows.disks ?? 1) + 1;
  if (disks > disksMax)
    throw new FsError('INVALID_ARGUMENT', `${grows.name} has ${disksMax} data directories`);
  return replaced(cluster, grows, { ...grows, disks, isDiskPending: true });
}

/** The manager has the order for its last data directory. */
export function withDiskOrdered(cluster: ClusterDescription, node: number): ClusterDescription {
  const server = requireServer(cluster, node);
  const { isDiskPending, ...ordered } = server;
  return replaced(cluster, server, ordered);
}

function replaced(cluster: ClusterDescription, old: ProcessSpec, spec: ProcessSpec): ClusterDescription {
  return { ...cluster, processes: cluster.processes.map((other) => (other === old ? spec : other)) };
}

/** The files of a new server first: the supervisor starts it as soon as the description names it. */
export function saveServer(cluster: ClusterDescription, node: number): void {
  writeConfigs({ ...cluster, processes: cluster.processes.filter(isServer(node)) });
  saveCluster(cluster);
}

/** As `saveServer`, of one that is there: what people have set in its file stays. */
export function saveChangedServer(cluster: ClusterDescription, node: number): void {
  renewConfigs(cluster, isServer(node));
  saveCluster(cluster);
}

function isServer(node: number): (spec: ProcessSpec) => boolean {
  return (spec) => spec.role === 'storage' && spec.node === node;
}

export function requireServer(cluster: ClusterDescription, node: number): ProcessSpec {
  const found = cluster.processes.find((spec) => spec.role === 'storage' && spec.node === node);
  if (found !== undefined) return found;
  const known = cluster.processes.filter((spec) => spec.role === 'storage').map((spec) => spec.name);
  throw new FsError('NOT_FOUND', `no storage server ${node} on this machine; there are ${known.join(', ')}`);
}
