// Connections of a tool to the manager and the storage servers of a cluster, closed when its work is done.
import { bootMsFromProc, FsError, type message, RpcClient, realClock, rpcs } from '@catena/core';
import type { ClusterDescription } from './description.ts';
import { withManager } from './managers.ts';

export interface ClusterConnections {
  readonly routing: message.Routing;
  /** To the storage server of this node. */
  connectTo(node: number): Promise<RpcClient>;
}

export async function withCluster<Result>(
  described: ClusterDescription,
  work: (cluster: ClusterConnections) => Promise<Result>,
): Promise<Result> {
  const clock = realClock(bootMsFromProc);
  const connections = new Map<string, Promise<RpcClient>>();
  const connect = (address: string): Promise<RpcClient> => {
    const known = connections.get(address) ?? RpcClient.connect(address, { clock });
    connections.set(address, known);
    return known;
  };
  try {
    const { routing } = await withManager(described, (manager) => manager.call(rpcs.routing, {}));
    if (routing === undefined) throw new FsError('BAD_MESSAGE', 'the manager sent no routing table');
    const addresses = new Map(routing.nodes.map((node) => [node.id, node.address]));
    return await work({
      routing,
      connectTo(node) {
        const address = addresses.get(node);
        if (address === undefined) throw new FsError('UNREACHABLE', `node ${node} was never heard of`);
        return connect(address);
      },
    });
  } finally {
    for (const connection of await Promise.allSettled(connections.values())) {
      if (connection.status === 'fulfilled') await connection.value.close();
    }
  }
}
