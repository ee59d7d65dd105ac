// The configuration of the metadata service: every key with its default, unit and reason.
import { type ConfigOf, type ConfigSchema, FsError, parseAddress } from '@catena/core';

export const metaSchema = {
  cluster: {
    type: 'text',
    default: '',
    unit: 'name',
    reason: 'Name of the cluster; empty takes the one that the manager tells.',
    scope: 'cluster',
  },
  node: {
    type: 'integer',
    default: 1001,
    unit: 'node number',
    min: 1,
    max: 65_535,
    reason: 'Number of this service among all nodes of the cluster.',
    scope: 'process',
  },
  listen: {
    type: 'address',
    default: '127.0.0.1:7401',
    unit: 'host:port',
    reason: 'Where clients reach this service.',
    scope: 'process',
  },
  advertise: {
    type: 'text',
    default: '',
    unit: 'host:port',
    reason: 'The address that clients are told, if they cannot use the one it listens on; empty: the same.',
    scope: 'process',
  },
  http: {
    type: 'address',
    default: '127.0.0.1:7501',
    unit: 'host:port',
    reason: 'Where /metrics and /healthz are.',
    scope: 'process',
  },
  managers: {
    type: 'textList',
    default: ['127.0.0.1:7400'],
    unit: 'host:port',
    min: 1,
    max: 7,
    reason: 'Where the cluster managers listen; tried in turn.',
    scope: 'cluster',
  },
  stateDirectory: {
    type: 'text',
    unit: 'path',
    reason: 'Where the log and the store of the names are kept; on an SSD.',
    scope: 'process',
  },
  chunkSizeBytes: {
    type: 'integer',
    default: 1 << 20,
    unit: 'bytes, a power of two',
    min: 64 << 10,
    max: 64 << 20,
    reason: 'Chunk size of files whose directory has no layout of its own.',
    scope: 'cluster',
  },
  stripe: {
    type: 'integer',
    default: 16,
    unit: 'chains',
    min: 1,
    max: 4096,
    reason: 'Over how many chains a large file is spread; capped by the chains that there are.',
    scope: 'cluster',
  },
  flushIntervalMs: {
    type: 'integer',
    default: 50,
    unit: 'milliseconds',
    min: 1,
    max: 1_000,
    reason: 'Names are on the medium at most this late without an fsync; a power failure loses no more.',
    scope: 'process',
  },
  applyIntervalMs: {
    type: 'integer',
    default: 50,
    unit: 'milliseconds',
    min: 0,
    max: 10_000,
    reason: 'Pause between two writes of the store; a longer one writes busy directories less often.',
    scope: 'process',
  },
  rootMode: {
    type: 'integer',
    default: 0o755,
    unit: 'permission bits, as a decimal number',
    min: 0,
    max: 0o7777,
    reason: 'Mode of the root directory of a new file system (493 is 0755, 1023 is 01777).',
    scope: 'cluster',
  },
} as const satisfies ConfigSchema;

export type MetaConfig = ConfigOf<typeof metaSchema>;

export function checkConfig(config: MetaConfig): void {
  const { chunkSizeBytes } = config;
  if ((chunkSizeBytes & (chunkSizeBytes - 1)) !== 0) {
    throw new FsError('BAD_CONFIG', `chunkSizeBytes is ${chunkSizeBytes}, which is no power of two`);
  }
  for (const manager of config.managers) requireAddress('managers', manager);
  if (config.advertise !== '') requireAddress('advertise', config.advertise);
}

function requireAddress(key: string, address: string): void {
  try {
    parseAddress(address);
  } catch (cause) {
    throw new FsError('BAD_CONFIG', `${key}: "${address}" is no host:port`, { cause });
  }
}
