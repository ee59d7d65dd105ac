// The twin of a TCP connection inside one process: the same frames over a pair of streams, for tests,
// simulation and tools.
import { duplexPair } from 'node:stream';
import { RpcClient, type RpcClientOptions } from './client.ts';
import type { RpcServer } from './server.ts';

export function connectInProcess(server: RpcServer, options: RpcClientOptions): RpcClient {
  const [near, far] = duplexPair();
  server.accept(far, 'in-process');
  return new RpcClient(near, 'in-process', options);
}
