// The running mount: the native session, a window for people and Prometheus, an orderly end. Reads and writes
// never come here.
import { hostname } from 'node:os';
import {
  FsError,
  type HttpServer,
  type Metrics,
  type RunningService,
  type ServiceContext,
  startHttp,
} from '@catena/core';
import { Mount, startNativeLog } from '@catena/native';
import type { MountConfig } from './config.ts';

/** Open files get this long at the end; the supervisor waits longer. */
const patienceMs = 3_000;

export async function startMount(config: MountConfig, context: ServiceContext): Promise<RunningService> {
  const { log, metrics } = context;
  startNativeLog('fuse-client');
  const { cache, http: httpAddress, ...rest } = config;
  const mount = await Mount.start({ ...rest, host: hostname(), withoutCache: cache === 'none' });
  let http: HttpServer;
  try {
    showFigures(mount, metrics);
    http = await startHttp({
      address: httpAddress,
      metrics,
      health: () => ({ ok: true, mountpoint: config.mountpoint, openFiles: mount.openFiles() }),
      json: { '/api/operations.json': () => mount.operations() },
    });
  } catch (error) {
    await mount.unmount(0); // nothing stays half started
    throw error;
  }
  let stopping = false;
  const ended = mount.ended().then(() => {
    const sentence = `${config.mountpoint} was unmounted by someone else`;
    if (!stopping) context.fail(new FsError('UNREACHABLE', sentence));
  });
  log.info('mount.start', { mountpoint: config.mountpoint, cache });
  return {
    ready: { mountpoint: config.mountpoint, http: http.address },
    async stop() {
      stopping = true;
      await mount.unmount(patienceMs);
      await ended;
      await http.close();
    },
  };
}

function showFigures(mount: Mount, metrics: Metrics): void {
  const client = () => mount.figures();
  metrics.observed('mount_open_files', 'Files that are open now.', 'gauge', () => mount.openFiles());
  metrics.observed(
    'mount_requests_in_flight',
    'Requests of the kernel that wait for their answer.',
    'gauge',
    () => mount.inFlight(),
  );
  const total = (part: 'requests' | 'errors') => () =>
    mount.operations().reduce((sum, operation) => sum + operation[part], 0);
  metrics.observed('mount_requests_total', 'Requests of the kernel.', 'counter', total('requests'));
  metrics.observed(
    'mount_request_errors_total',
    'Requests answered with an error.',
    'counter',
    total('errors'),
  );
  metrics.observed(
    'client_write_bytes_in_flight',
    'Written bytes that are not acknowledged yet.',
    'gauge',
    () => client().writeBytesInFlight,
  );
  metrics.observed(
    'client_corrupt_answers_total',
    'Reads whose bytes did not match their checksum, answered from another copy.',
    'counter',
    () => client().corruptAnswers,
  );
  metrics.observed(
    'client_metadata_in_flight',
    'Metadata requests without an answer.',
    'gauge',
    () => client().metadataInFlight,
  );
  metrics.observed('client_routing_version', 'Version of the routing table in use.', 'gauge', () =>
    Number(client().routingVersion),
  );
}
