// Puts the service together: store and log in its directory, the partition, its rpc and http servers, the tie
// to the manager. Starting refuses whatever is wrong before anything listens; stopping leaves nothing to
// replay.
import { join } from 'node:path';
import {
  type FsError,
  featureLevel,
  openLmdbStore,
  openLocalLog,
  RpcServer,
  type RunningService,
  realRandom,
  type ServiceContext,
  SpaceReserve,
  startHttp,
} from '@catena/core';
import { allocateBlocks, DirectoryLock } from '@catena/native';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { NativeChunkStore } from '../chunks/native-chunk-store.ts';
import type { MetaConfig } from '../config.ts';
import type { Environment } from '../owner/owner.ts';
import { Partition } from '../owner/partition.ts';
import { clientText } from '../state/keys.ts';
import { handlersOf } from './handlers.ts';
import { TableLayouts } from './layouts.ts';
import { ManagerLink } from './manager-link.ts';
import { addMetrics } from './service-metrics.ts';
import { SpaceGauge } from './space-gauge.ts';

export async function startMetaService(config: MetaConfig, context: ServiceContext): Promise<RunningService> {
  const lock = DirectoryLock.acquire(config.stateDirectory);
  const undo: (() => unknown)[] = [() => lock.release()];
  try {
    return await start(config, context, undo);
  } catch (error) {
    for (const act of undo.reverse()) await act();
    throw error;
  }
}

async function start(
  config: MetaConfig,
  context: ServiceContext,
  undo: (() => unknown)[],
): Promise<RunningService> {
  const { clock, log, metrics, fail } = context;
  let cluster = (): string => config.cluster;
  const chunks = new NativeChunkStore({ managers: config.managers, cluster: () => cluster() });
  undo.push(() => chunks.close());
  const layouts = new TableLayouts(config);
  const reserve = new SpaceReserve(join(config.stateDirectory, 'reserve'), allocateBlocks);
  const gauge = new SpaceGauge(chunks, reserve, clock, log);
  undo.push(() => gauge.stop());
  const partition = await openPartition(config, context, chunks, reserve, {
    layouts,
    space: () => gauge.space,
    isFull: () => !reserve.isWhole,
  });
  undo.push(() => partition.close());
  cluster = () => partition.cluster;
  const server = new RpcServer({ handlers: handlersOf(partition), clock, log });
  undo.push(() => server.close());
  const address = await server.listen(config.listen);
  const link = new ManagerLink({
    managers: config.managers,
    node: config.node,
    incarnation: partition.incarnation,
    address: config.advertise === '' ? address : config.advertise,
    clock,
    random: realRandom,
    log,
    featureLevel,
    cluster: () => partition.cluster,
    onRegistered: (cluster, level) => {
      const wrong = partition.join(cluster, level);
      if (wrong !== undefined) fail(wrong);
    },
    onRouting: (routing) => {
      if (routing.tables.length > 0) layouts.add(routing.tables, routing.fromVersion === 0n);
      partition.departures.hear({
        whole: routing.fromVersion === 0n,
        added: routing.clientsAdded.map(clientText),
        removed: routing.clientsRemoved.map(clientText),
        fenced: routing.clientsFenced.map(clientText),
      });
    },
  });
  addMetrics(metrics, partition, link, reserve);
  const http = await startHttp({
    address: config.http,
    metrics,
    health: () => ({
      ok: layouts.isKnown,
      registered: link.isRegistered,
      routing: link.routingVersion,
      files: partition.owner.state.fileCount,
    }),
  });
  link.start();
  gauge.start();
  return {
    ready: { address, http: http.address, replayed: partition.replayed, epoch: Number(partition.log.epoch) },
    stop: async () => {
      await http.close();
      await link.stop();
      await server.close();
      gauge.stop();
      await partition.close();
      await chunks.close();
      undo[0]?.();
    },
  };
}

function openPartition(
  config: MetaConfig,
  context: ServiceContext,
  chunks: ChunkStore,
  reserve: SpaceReserve,
  environment: Environment,
): Promise<Partition> {
  const { clock, log, fail } = context;
  const failed = (error: FsError): void => fail(error);
  return openLmdbStore(join(config.stateDirectory, 'store'), allocateBlocks).then((store) =>
    Partition.open({
      store,
      openLog: (floor) =>
        openLocalLog({
          directory: join(config.stateDirectory, 'log'),
          clock,
          log,
          floor,
          flushIntervalMs: config.flushIntervalMs,
          reserve,
          onFailure: failed,
        }),
      chunks,
      clock,
      environment,
      log,
      cluster: config.cluster,
      // Whoever starts a cluster for itself owns it.
      root: { mode: config.rootMode, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      managed: true,
      applyIntervalMs: config.applyIntervalMs,
      onFailure: failed,
    }).catch(async (error: unknown) => {
      await store.close();
      throw error;
    }),
  );
}
