// The configuration of a storage node.
import { type ConfigOf, type ConfigSchema, FsError } from '@catena/core';

const mebibyte = 1 << 20;

export const storageConfigSchema = {
  node: {
    type: 'integer',
    min: 1,
    max: 1_000_000,
    unit: 'number',
    reason: 'Number of this node in the chain table; it never changes.',
    scope: 'process',
  },
  cluster: {
    type: 'text',
    unit: 'name',
    reason: 'Name of the cluster; data directories of another cluster are refused.',
    scope: 'cluster',
  },
  disks: {
    type: 'textList',
    min: 1,
    max: 64,
    unit: 'path',
    reason:
      'Data directories, one per disk. Their order is their number in the chain table, so it must not change.',
    scope: 'process',
  },
  mountedDisks: {
    type: 'text',
    default: 'optional',
    oneOf: ['optional', 'required'],
    unit: 'rule',
    reason:
      'required: a data directory that is not the root of a mounted file system is a failed disk. Otherwise a disk ' +
      'that is not mounted looks like an empty one, and its replicas are written again below its mount point.',
    scope: 'process',
  },
  media: {
    type: 'textList',
    default: ['buffered'],
    min: 1,
    max: 64,
    oneOf: ['buffered', 'direct'],
    unit: 'media',
    reason:
      'How chunks go to the disks: one for all of them, or one per disk in their order. buffered: through the ' +
      'page cache. direct: past it with O_DIRECT and io_uring, for fast disks whose bytes are seldom read twice.',
    scope: 'process',
  },
  managers: {
    type: 'textList',
    default: ['127.0.0.1:7400'],
    min: 1,
    max: 16,
    unit: 'host:port',
    reason: 'Where the cluster managers listen; tried in turn.',
    scope: 'cluster',
  },
  listen: {
    type: 'address',
    default: '127.0.0.1:7411',
    unit: 'host:port',
    reason:
      'Where clients and other nodes reach this one. Keep it on loopback until there is authentication.',
    scope: 'process',
  },
  advertise: {
    type: 'text',
    default: '',
    unit: 'host:port',
    reason: 'What others connect to, if that is not the address this node listens on.',
    scope: 'process',
  },
  domain: {
    type: 'text',
    default: '',
    unit: 'label',
    reason:
      'Failure domain, such as the rack: no two copies of a chunk are in one. Empty: this node is its own.',
    scope: 'process',
  },
  http: {
    type: 'address',
    default: '127.0.0.1:7511',
    unit: 'host:port',
    reason: '/metrics and /healthz.',
    scope: 'process',
  },
  storeThreads: {
    type: 'integer',
    default: 3,
    min: 1,
    max: 256,
    unit: 'threads',
    reason: 'Threads that store updates, for each data directory; one works alone as long as it keeps up.',
    scope: 'process',
  },
  readThreads: {
    type: 'integer',
    default: 3,
    min: 1,
    max: 256,
    unit: 'threads',
    reason: 'Threads that answer reads; more for many fast disks.',
    scope: 'process',
  },
  updateBufferBytes: {
    type: 'integer',
    default: 32 * mebibyte,
    min: mebibyte,
    max: 64 * 1024 * mebibyte,
    unit: 'bytes',
    reason:
      'Most memory of each disk for updates on their way, for each position that its targets have in their chains ' +
      '(P24): with three copies up to three times this. Above 32 MiB each target reserves as much more of its disk (P8).',
    scope: 'process',
  },
  readBufferBytes: {
    type: 'integer',
    default: 32 * mebibyte,
    min: mebibyte,
    max: 64 * 1024 * mebibyte,
    unit: 'bytes',
    reason: 'Most memory of each disk for reads on their way (P24).',
    scope: 'process',
  },
  resyncBufferBytes: {
    type: 'integer',
    default: 8 * mebibyte,
    min: mebibyte,
    max: 16 * 1024 * mebibyte,
    unit: 'bytes',
    reason:
      'Most memory of each disk for chunks that are copied to a returning target, and as much for chunks that ' +
      'its targets get (P24).',
    scope: 'process',
  },
  diskTimeoutMs: {
    type: 'integer',
    default: 8_000,
    min: 500,
    max: 25_000,
    unit: 'ms',
    reason:
      'A disk that does not answer for so long (a flush: three times as long) goes offline with its targets. ' +
      'Below the 10 s that the longest operation of a client may take.',
    scope: 'process',
  },
  resyncBytesPerSecond: {
    type: 'integer',
    default: 256 * mebibyte,
    min: mebibyte,
    max: 64 * 1024 * mebibyte,
    unit: 'bytes/s',
    reason:
      'Most that is read from one disk to bring other targets up to date; a quarter of it while clients use ' +
      'the disk. At the default 1 TiB takes about an hour.',
    scope: 'process',
  },
  scrubBytesPerSecond: {
    type: 'integer',
    default: 64 * mebibyte,
    min: mebibyte,
    max: 64 * 1024 * mebibyte,
    unit: 'bytes/s',
    reason:
      'Most that the background scrub reads from one disk; a quarter of it while clients use the disk. At ' +
      'the default 1 TiB takes about five hours.',
    scope: 'process',
  },
  scrubIntervalHours: {
    type: 'integer',
    default: 168,
    min: 0,
    max: 8_760,
    unit: 'hours',
    reason:
      'Everything is read and compared with its checksums again so long after the last time. 0: only when ' +
      '`catena scrub` asks for it.',
    scope: 'process',
  },
  flushIntervalMs: {
    type: 'integer',
    default: 5_000,
    min: 100,
    max: 600_000,
    unit: 'ms',
    reason: 'Written bytes reach the medium at the latest after this long, without any fsync (P11).',
    scope: 'process',
  },
} as const satisfies ConfigSchema;

export type StorageConfig = ConfigOf<typeof storageConfigSchema>;

export function checkStorageConfig({ disks, media }: StorageConfig): void {
  if (media.length !== 1 && media.length !== disks.length) {
    const detail = `"media" has ${media.length} entries for ${disks.length} disks: give one for all, or one per disk`;
    throw new FsError('BAD_CONFIG', detail);
  }
}

/** What the configuration says of each disk, in the order of the disks. */
export function mediaOfDisks({ disks, media }: StorageConfig): string[] {
  return disks.map((_, index) => media[media.length === 1 ? 0 : index] ?? 'buffered');
}
