// Message → operation: everything that the manager answers.
import { FsError, type Handler, handle, message, type RequestContext, rpcs } from '@catena/core';
import type { Manager } from './manager.ts';

export interface HandlerParts {
  /** NOT_PRIMARY, with the address of the one who is, where another manager decides (P3). */
  readonly manager: () => Manager;
  /** Looks at once whether the node's port still answers (P1). */
  readonly check: (node: number) => void;
}

export function handlersOf(parts: HandlerParts): Handler[] {
  const { manager } = parts;
  return [
    handle(rpcs.echo, () => ({})),
    handle(rpcs.register, (request, context) => register(manager(), request, context)),
    handle(rpcs.heartbeat, async (request, { connection }) => ({
      sequence: request.sequence,
      ...(await manager().heartbeat(request, connection)),
    })),
    handle(rpcs.giveBack, async (request) => {
      await manager().giveBack(request);
      return {};
    }),
    handle(rpcs.exitReport, async (request, { connection }) => {
      await manager().exitReport(request, connection);
      return {};
    }),
    handle(rpcs.suspect, (request) => {
      manager().suspect({ kind: message.NodeKind.NODE_STORAGE, node: request.node });
      parts.check(request.node);
      return {};
    }),
    handle(rpcs.change, (request) => manager().change(request)),
    handle(rpcs.routing, (request, { connection }) => ({
      routing: manager().routingSince(request.routingVersion, connection),
    })),
  ];
}

async function register(
  manager: Manager,
  request: message.RegisterRequest,
  { connection }: RequestContext,
): Promise<Omit<message.RegisterReply, 'header'>> {
  if (request.cluster !== '' && request.cluster !== manager.cluster) {
    throw new FsError('WRONG_CLUSTER', `this is cluster "${manager.cluster}", not "${request.cluster}"`);
  }
  if (request.featureLevel < manager.featureLevel) {
    throw new FsError(
      'NEWER_DATA',
      `the cluster speaks feature level ${manager.featureLevel}, ${connection.peer} only ${request.featureLevel}`,
    );
  }
  const { config } = manager.options;
  const isClient = request.kind === message.NodeKind.NODE_CLIENT;
  const routing = isClient
    ? await manager.registerClient(request, connection)
    : await manager.registerNode(request, connection);
  return {
    cluster: manager.cluster,
    featureLevel: manager.featureLevel,
    heartbeatMs: isClient ? config.clientHeartbeatMs : config.heartbeatMs,
    leaseMs: isClient ? config.clientLeaseMs : config.leaseMs,
    routing,
  };
}
