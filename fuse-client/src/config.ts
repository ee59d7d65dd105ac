// The configuration of a mount: every key with its default, unit and reason.
import { type ConfigOf, type ConfigSchema, FsError } from '@catena/core';

export const mountConfigSchema = {
  cluster: {
    type: 'text',
    default: '',
    unit: 'name',
    reason: 'Name of the cluster; another one is refused. Empty: any.',
    scope: 'cluster',
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
  mountpoint: {
    type: 'text',
    unit: 'path',
    reason: 'An empty directory on this machine.',
    scope: 'process',
  },
  http: {
    type: 'address',
    default: '127.0.0.1:7520',
    unit: 'host:port',
    reason: 'Where /metrics and /healthz are.',
    scope: 'process',
  },
  cache: {
    type: 'text',
    default: 'normal',
    unit: 'mode',
    oneOf: ['normal', 'none'],
    reason:
      'none: no page cache and no cached attributes; several machines may write one file at once (P20).',
    scope: 'process',
  },
  ioTimeoutMs: {
    type: 'integer',
    default: 60_000,
    unit: 'ms',
    min: 1_000,
    max: 86_400_000,
    reason: 'How long an operation is retried before it fails with EIO (P25).',
    scope: 'process',
  },
  hard: {
    type: 'boolean',
    default: false,
    unit: 'switch',
    reason: 'Retry for ever instead; only a signal ends an operation.',
    scope: 'process',
  },
  allowOther: {
    type: 'boolean',
    default: true,
    unit: 'switch',
    reason: 'Other users of this machine may use the mount; permissions are checked by the metadata service.',
    scope: 'process',
  },
  writeBytesMax: {
    type: 'integer',
    default: 32 << 20,
    unit: 'bytes',
    min: 1 << 20,
    max: 1 << 30,
    reason: 'Memory for writes that are not acknowledged yet; more writers wait.',
    scope: 'process',
  },
  readAheadBytes: {
    type: 'integer',
    default: 4 << 20,
    unit: 'bytes',
    min: 0,
    max: 256 << 20,
    reason: 'How far the kernel reads ahead in a file that is read in order.',
    scope: 'process',
  },
} as const satisfies ConfigSchema;

export type MountConfig = ConfigOf<typeof mountConfigSchema>;

/** Checks beyond those of single keys. */
export function checkMountConfig(config: MountConfig): void {
  if (!config.mountpoint.startsWith('/')) {
    throw new FsError('BAD_CONFIG', `"mountpoint" must be an absolute path, not "${config.mountpoint}"`);
  }
}
