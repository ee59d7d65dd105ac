// The managers of a cluster: one, or several of which an etcd elects the one who decides.
import { bootMsFromProc, FsError, RpcClient, realClock } from '@catena/core';
import type { ClusterDescription } from './description.ts';

/** Addresses of all; whoever is told of them finds the one who decides. */
export function managersOf(cluster: ClusterDescription): readonly string[] {
  return cluster.managers ?? [cluster.manager];
}

/** Nothing was done, and another manager may do it. */
const elsewhere: readonly string[] = ['NOT_PRIMARY', 'UNREACHABLE'];

/** Runs `act` with a connection to the manager who decides. */
export async function withManager<T>(
  cluster: ClusterDescription,
  act: (client: RpcClient) => Promise<T>,
): Promise<T> {
  let refused: unknown;
  for (const address of managersOf(cluster)) {
    try {
      const client = await RpcClient.connect(address, { clock: realClock(bootMsFromProc) });
      try {
        return await act(client);
      } finally {
        await client.close();
      }
    } catch (error) {
      if (!(error instanceof FsError) || !elsewhere.includes(error.code)) throw error;
      refused = error;
    }
  }
  throw refused;
}
