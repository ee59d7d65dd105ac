// The configuration of the cluster manager. What is per cluster is told to every node when it registers.
import { type ConfigOf, type ConfigSchema, FsError } from '@catena/core';

export const managerConfigSchema = {
  stateDirectory: {
    type: 'text',
    default: '',
    unit: 'path',
    reason:
      'Where the chain table and the membership are kept, if there is one manager; one process at a time holds its lock.',
    scope: 'process',
  },
  etcd: {
    type: 'textList',
    default: [],
    unit: 'http://host:port',
    min: 0,
    max: 7,
    reason: 'Members of an etcd that keeps the state instead, for several managers; one of them decides.',
    scope: 'cluster',
  },
  etcdPrefix: {
    type: 'text',
    default: 'catena',
    unit: 'name',
    reason: 'Everything of this cluster in etcd is below it; another cluster in the same etcd needs another.',
    scope: 'cluster',
  },
  cluster: {
    type: 'text',
    default: '',
    unit: 'name',
    reason: 'Name of the cluster; a state of another cluster is refused. Empty: whatever the state says.',
    scope: 'cluster',
  },
  listen: {
    type: 'address',
    default: '127.0.0.1:7400',
    unit: 'host:port',
    reason: 'Where nodes and clients register. Keep it on loopback until there is authentication.',
    scope: 'process',
  },
  advertise: {
    type: 'text',
    default: '',
    unit: 'host:port',
    reason: 'The address that others are sent to, if they cannot use the one it listens on; empty: the same.',
    scope: 'process',
  },
  http: {
    type: 'address',
    default: '127.0.0.1:7500',
    unit: 'host:port',
    reason: 'Status page, /metrics and /healthz.',
    scope: 'process',
  },
  leaseMs: {
    type: 'integer',
    default: 5_000,
    min: 1_000,
    max: 60_000,
    unit: 'ms',
    reason: 'Lease of a storage or metadata node: a silent host leaves its chains after this (P1).',
    scope: 'cluster',
  },
  heartbeatMs: {
    type: 'integer',
    default: 1_000,
    min: 100,
    max: 10_000,
    unit: 'ms',
    reason: 'Between heartbeats of a node; several must fit into a lease.',
    scope: 'cluster',
  },
  clientLeaseMs: {
    type: 'integer',
    default: 10_000,
    min: 2_000,
    max: 120_000,
    unit: 'ms',
    reason:
      'Lease of a client: a silent one is fenced after this, and its locks and sessions are released (P4).',
    scope: 'cluster',
  },
  clientHeartbeatMs: {
    type: 'integer',
    default: 2_000,
    min: 100,
    max: 20_000,
    unit: 'ms',
    reason: 'Between heartbeats of a client.',
    scope: 'cluster',
  },
  outageGraceMs: {
    type: 'integer',
    default: 30_000,
    min: 0,
    max: 600_000,
    unit: 'ms',
    reason: 'After a total outage of a chain: how long to wait for the rest of its last members (P10).',
    scope: 'cluster',
  },
  ioTimeoutMs: {
    type: 'integer',
    default: 60_000,
    min: 1_000,
    max: 3_600_000,
    unit: 'ms',
    reason:
      'How long clients retry (P25); at least outageGraceMs + 15 s, or an outage would fail their calls.',
    scope: 'cluster',
  },
} as const satisfies ConfigSchema;

export type ManagerConfig = ConfigOf<typeof managerConfigSchema>;

export function checkManagerConfig(config: ManagerConfig): void {
  if ((config.stateDirectory === '') === (config.etcd.length === 0)) {
    throw new FsError('BAD_CONFIG', 'say where the state is: either "stateDirectory" or "etcd"');
  }
  for (const url of config.etcd) {
    if (!/^https?:\/\/[^/:]+:\d+$/.test(url))
      throw new FsError('BAD_CONFIG', `etcd: "${url}" is no http://host:port`);
  }
  if (!/^[\w.-]+(\/[\w.-]+)*$/.test(config.etcdPrefix)) {
    throw new FsError('BAD_CONFIG', `etcdPrefix: "${config.etcdPrefix}" is no name`);
  }
  if (config.outageGraceMs + 15_000 > config.ioTimeoutMs) {
    throw new FsError('BAD_CONFIG', '"outageGraceMs" + 15000 must not be above "ioTimeoutMs" (P10)');
  }
  if (config.heartbeatMs * 3 > config.leaseMs || config.clientHeartbeatMs * 3 > config.clientLeaseMs) {
    throw new FsError(
      'BAD_CONFIG',
      'a lease must be at least three heartbeats long, or one lost packet ends it',
    );
  }
}
