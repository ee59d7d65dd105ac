import { testChunkStore } from './chunk-store.suite.ts';
import { MemoryChunkStore } from './memory-chunk-store.ts';

testChunkStore('in memory', async () => {
  const store = new MemoryChunkStore();
  const layout = {
    table: 1,
    tableVersion: 1,
    chunkSize: 1 << 20,
    stripe: 4,
    first: 1,
    flushEachWrite: false,
  };
  let next = 10n;
  return {
    store,
    layout,
    freshInode: () => next++,
    write: async (inode, offset, bytes) => store.write(inode, layout, offset, bytes),
  };
});
