// The running manager: state, server, pages and the clock's ticks put together.
import { join } from 'node:path';
import {
  type ConfigOf,
  FsError,
  message,
  RpcServer,
  type RunningService,
  type ServiceContext,
  SpaceReserve,
  startHttp,
} from '@catena/core';
import { allocateBlocks, DirectoryLock } from '@catena/native';
import type { managerConfigSchema } from './config.ts';
import { handlersOf } from './handlers.ts';
import { Manager, type NextChain } from './manager.ts';
import { NodeCheck } from './node-check.ts';
import { jsonPages, statusPage } from './pages.ts';
import { loadState, openStateStore } from './state.ts';

/** A lease that ran out is seen within this. */
const tickMs = 100;

export async function startManager(
  config: ConfigOf<typeof managerConfigSchema>,
  context: ServiceContext,
  nextChain: NextChain,
): Promise<RunningService> {
  const { clock, log, metrics } = context;
  const lock = DirectoryLock.acquire(config.stateDirectory);
  const record = loadState(config.stateDirectory);
  if (config.cluster !== '' && config.cluster !== record.cluster) {
    throw new FsError(
      'WRONG_CLUSTER',
      `${config.stateDirectory} is of "${record.cluster}", not "${config.cluster}"`,
    );
  }
  const reserve = new SpaceReserve(join(config.stateDirectory, 'reserve'), allocateBlocks);
  const store = openStateStore(config.stateDirectory, reserve);
  const manager = new Manager({
    config,
    record,
    store,
    nextChain,
    clock,
    log,
    metrics,
    roleIsValid: () => true,
  });
  const check = new NodeCheck({ manager, clock, log, metrics });
  const server = new RpcServer({
    clock,
    log,
    handlers: handlersOf({ manager, check: (node) => check.start(node) }),
    onClosed: (connection) => {
      const node = manager.disconnected(connection);
      if (node !== undefined) {
        manager.suspect(node);
        if (node.kind === message.NodeKind.NODE_STORAGE) check.start(node.node);
      }
    },
  });
  const http = await startHttp({
    address: config.http,
    metrics,
    health: () => ({ ok: true, cluster: manager.cluster, routingVersion: manager.routing.version }),
    json: jsonPages(manager),
    files: statusPage(),
  });
  const address = await server.listen(config.listen);
  let stopped = false;
  const tick = (): void => {
    if (stopped) return;
    manager.tick();
    clock.timer(tickMs, tick);
  };
  tick();
  return {
    ready: { address, http: http.address, cluster: manager.cluster },
    async stop() {
      stopped = true;
      await server.close();
      await http.close();
      lock.release();
    },
  };
}
