// The running storage node: the native server, and a window for people and Prometheus. Reads and writes never
// come here.
import {
  type HttpServer,
  type Metrics,
  message,
  type RunningService,
  type ServiceContext,
  startHttp,
} from '@catena/core';
import { StorageServer } from '@catena/native';
import { mediaOfDisks, type StorageConfig } from './config.ts';

const localStates = ['offline', 'online', 'uptodate'] as const;

export async function startStorage(config: StorageConfig, context: ServiceContext): Promise<RunningService> {
  const { metrics, log } = context;
  const { http: httpAddress, mountedDisks, ...settings } = config;
  const server = await StorageServer.start({
    ...settings,
    requireMountedDisks: mountedDisks === 'required',
    media: mediaOfDisks(config),
  });
  showCounters(server, metrics);
  let http: HttpServer;
  try {
    http = await startHttp({
      address: httpAddress,
      metrics,
      health: () => healthOf(server),
      json: { '/api/targets.json': () => targetsPage(server) },
    });
  } catch (error) {
    await server.stop(); // nothing stays half started
    throw error;
  }
  log.info('storage.start', { node: config.node, incarnation: server.incarnation, disks: config.disks });
  return {
    ready: { node: config.node, address: server.address, http: http.address },
    async stop() {
      await server.stop();
      await http.close();
    },
  };
}

function targetsPage(server: StorageServer): unknown {
  return server.targets().map((report) => ({ ...report, state: localStates[report.state] }));
}

/** A full disk is no failed one. */
function healthOf(server: StorageServer): {
  ok: boolean;
  targets: number;
  offline: string[];
  withoutRoom: string[];
} {
  const targets = server.targets();
  const lacksRoom = (report: message.TargetReport): boolean => report.missingBytes > 0n;
  const isOffline = (report: message.TargetReport): boolean =>
    report.diskError || report.state === message.LocalState.LOCAL_OFFLINE;
  const numbers = (reports: readonly message.TargetReport[]): string[] =>
    reports.map(({ target }) => target.toString());
  const offline = numbers(targets.filter((report) => isOffline(report) && !lacksRoom(report)));
  const withoutRoom = numbers(targets.filter(lacksRoom));
  return { ok: offline.length === 0, targets: targets.length, offline, withoutRoom };
}

/** The server knows the names of its counters; they are the same for its whole life. */
function showCounters(server: StorageServer, metrics: Metrics): void {
  for (const { name, help } of server.counters()) {
    const read = (): number => Number(server.counters().find((counter) => counter.name === name)?.value ?? 0);
    metrics.observed(name, `${help}.`, 'counter', read);
  }
  const sum = (part: (report: message.TargetReport) => bigint) => (): number =>
    Number(server.targets().reduce((total, report) => total + part(report), 0n));
  metrics.observed(
    'storage_used_bytes',
    'Bytes in use by all targets.',
    'gauge',
    sum((report) => report.usedBytes),
  );
  metrics.observed('storage_targets', 'Targets of this node.', 'gauge', () => server.targets().length);
}
