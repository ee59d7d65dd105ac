// What every chunk store must do. The one in memory runs it beside this file; the one on storage servers
// where a cluster is.
import type { message } from '@catena/core';
import { beforeEach, describe, expect, test } from 'vitest';
import type { ChunkStore } from './chunk-store.ts';

export interface ChunkStoreUnderTest {
  readonly store: ChunkStore;
  readonly layout: message.Layout;
  /** An inode without chunks. */
  freshInode(): bigint;
  /** As a client writes. */
  write(inode: bigint, offset: bigint, bytes: number): Promise<void>;
}

export function testChunkStore(title: string, open: () => Promise<ChunkStoreUnderTest>): void {
  describe(`chunk store ${title}`, () => {
    let under: ChunkStoreUnderTest;
    let inode: bigint;
    beforeEach(async () => {
      under = await open();
      inode = under.freshInode();
    });
    const length = () => under.store.queryLength(inode, under.layout);
    const size = () => BigInt(under.layout.chunkSize);

    test('an inode without chunks has length 0; removing and cutting it are no errors', async () => {
      expect(await length()).toBe(0n);
      await under.store.remove(inode, under.layout, 10n * size());
      await under.store.truncate(inode, under.layout, 0n, undefined);
      expect(await length()).toBe(0n);
    });
    test('the length is the end of the last byte, over holes', async () => {
      await under.write(inode, 3n, 10);
      expect(await length()).toBe(13n);
      await under.write(inode, 9n * size() + 5n, 7);
      expect(await length()).toBe(9n * size() + 12n);
    });
    test('cutting takes everything behind, in the chunk and after it, whatever is known of the length', async () => {
      for (const known of [undefined, 3n * size()]) {
        await under.write(inode, 0n, Number(3n * size()));
        await under.store.truncate(inode, under.layout, size() + 100n, known);
        expect(await length()).toBe(size() + 100n);
        await under.store.truncate(inode, under.layout, size() + 100n, known);
        await under.store.truncate(inode, under.layout, 0n, known);
        expect(await length()).toBe(0n);
      }
    });
    test('cutting behind the end changes nothing', async () => {
      await under.write(inode, 0n, 1000);
      await under.store.truncate(inode, under.layout, 5000n, 1000n);
      expect(await length()).toBe(1000n);
      // Of a refused write the length is known, and nothing is there.
      await under.store.truncate(inode, under.layout, 5000n, 3n * size());
      await under.store.truncate(inode, under.layout, size() + 5000n, 3n * size());
      expect(await length()).toBe(1000n);
    });
    test('removing takes all chunks, and only of this inode', async () => {
      const other = under.freshInode();
      await under.write(inode, 0n, Number(2n * size()));
      await under.write(other, 0n, 50);
      await under.store.remove(inode, under.layout, 2n * size());
      await under.store.remove(inode, under.layout, 2n * size());
      expect(await length()).toBe(0n);
      expect(await under.store.queryLength(other, under.layout)).toBe(50n);
    });
    test('says what there is', async () => {
      const { capacityBytes, usedBytes } = await under.store.space();
      expect(capacityBytes).toBeGreaterThan(0n);
      expect(usedBytes).toBeLessThanOrEqual(capacityBytes);
    });
  });
}
