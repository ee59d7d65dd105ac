// The server of the measurements: the product's partition on the product's LMDB and local log, behind the
// product's rpc server, as a process of its own; only manager and storage servers are left out. Says its
// address on stdout, ends when its parent does.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLmdbStore, openLocalLog, RpcServer, realClock } from '@catena/core';
import { bootClockMs } from '@catena/native';
import { MemoryChunkStore } from '../chunks/memory-chunk-store.ts';
import { Partition } from '../owner/partition.ts';
import { handlersOf } from '../server/handlers.ts';
import { TableLayouts } from '../server/layouts.ts';

const directory = process.argv[2];
if (directory === undefined) throw new Error('usage: serve.js DIRECTORY');

/** CPU time of the JavaScript thread alone, as Linux counts it. */
function mainThreadMs(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

const clock = realClock(bootClockMs);
const layouts = new TableLayouts({ chunkSizeBytes: 1 << 20, stripe: 16 });
layouts.use([{ id: 1, version: 1, chains: [1, 2, 3, 4], lengths: [] }]);
const fail = (error: Error): void => {
  throw error;
};
const partition = await Partition.open({
  store: await openLmdbStore(join(directory, 'store')),
  openLog: (floor) => openLocalLog({ directory: join(directory, 'log'), clock, floor, onFailure: fail }),
  chunks: new MemoryChunkStore(),
  clock,
  environment: { layouts, space: () => ({ capacityBytes: 0n, usedBytes: 0n }) },
  onFailure: fail,
});
const server = new RpcServer({ handlers: handlersOf(partition), clock });
const address = await server.listen('127.0.0.1:0');
process.on('disconnect', () => process.exit(0));
process.on('message', (question) => {
  if (question === 'figures') {
    const { user, system } = process.cpuUsage();
    process.send?.({
      cpuMs: (user + system) / 1000,
      mainThreadMs: mainThreadMs(),
      rssBytes: process.memoryUsage.rss(),
      records: Number(partition.log.appended),
      overlay: partition.owner.state.overlay.size,
    });
  }
  if (question === 'stop')
    void server
      .close()
      .then(() => partition.close())
      .then(() => process.exit(0));
});
process.send?.({ address });
