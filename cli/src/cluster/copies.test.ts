import { message } from '@catena/core';
import { expect, test } from 'vitest';
import { type Copy, compareCopies } from './copies.ts';

const noPause = async (): Promise<void> => {};

interface Held {
  readonly number?: bigint;
  readonly length?: number;
  readonly byte?: number;
  readonly removed?: boolean;
  readonly corrupt?: boolean;
}

/** A member that holds the chunks `inode/index`, in pages as a server gives them. */
function member(target: bigint, held: Record<string, Held>): Copy & { pages: number } {
  const chunks = Object.entries(held)
    .map(([name, { number = 1n, length = 10, byte = 1, removed = false, corrupt = false }]) => {
      const [inode = 0n, index = 0n] = name.split('/').map(BigInt);
      const digest = Buffer.alloc(16, byte);
      const version = { chain: 1n, number };
      return message.ChunkInfo.fromPartial({
        chunk: { inode, index },
        version,
        length,
        digest,
        removed,
        corrupt,
      });
    })
    .sort((a, b) => Number(a.chunk!.inode - b.chunk!.inode || a.chunk!.index - b.chunk!.index));
  const copy = {
    target,
    pages: 0,
    list: async (from: message.ChunkId, limit: number) => {
      copy.pages++;
      const rest = chunks.filter(
        ({ chunk }) =>
          chunk!.inode > from.inode || (chunk!.inode === from.inode && chunk!.index >= from.index),
      );
      return { chunks: rest.slice(0, limit), more: rest.length > limit };
    },
  };
  return copy;
}

const many = (changed: Record<string, Held> = {}): Record<string, Held> => ({
  ...Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`${1 + (index % 3)}/${index}`, {}])),
  ...changed,
});

test('equal copies of several pages are equal, and each page is asked for once', async () => {
  const copies = [member(1n, many()), member(2n, many()), member(3n, many())];
  expect(await compareCopies(copies, noPause)).toEqual({ chunks: 300, differences: [] });
  for (const { pages } of copies) expect(pages).toBe(5);
});

test.each<[string, Record<string, Held>]>([
  ['other bytes', { '2/1': { byte: 2 } }],
  ['another version', { '2/1': { number: 2n } }],
  ['another length', { '2/1': { length: 11 } }],
  ['a removed chunk', { '2/1': { removed: true } }],
  ['a chunk more behind the end', { '9/0': {} }],
  ['a chunk more before all', { '0/7': {} }],
])('%s in one copy is a difference', async (_, changed) => {
  const copies = [member(1n, many()), member(2n, many(changed)), member(3n, many())];
  const { differences } = await compareCopies(copies, noPause);
  expect(differences.map(({ chunk }) => chunk)).toEqual(Object.keys(changed));
  expect(differences[0]?.what).toMatch(/^target 1: .*; target 2: .*; target 3: /);
});

test('marks of removals are no chunks', async () => {
  const copies = [member(1n, many({ '9/0': { removed: true } })), member(2n, many())];
  expect(await compareCopies(copies, noPause)).toEqual({ chunks: 300, differences: [] });
});

test('damage counts, also if all copies are damaged in the same way, or if there is one alone', async () => {
  const damaged = { '2/1': { corrupt: true } };
  for (const copies of [[member(1n, damaged)], [member(1n, damaged), member(2n, damaged)]]) {
    const { differences } = await compareCopies(copies, noPause);
    expect(differences.map(({ what }) => what)).toEqual([
      expect.stringContaining('do not match their checksum'),
    ]);
  }
});

test('a chunk that was being written while it was read is looked at again', async () => {
  const late = member(2n, { '2/1': { number: 1n }, '2/2': {} });
  const after = member(2n, { '2/1': { number: 2n }, '2/2': {} });
  let pauses = 0;
  const second: Copy = { target: 2n, list: (from, limit) => (pauses < 2 ? late : after).list(from, limit) };
  const copies = [member(1n, { '2/1': { number: 2n }, '2/2': {} }), second];
  const compared = await compareCopies(copies, async () => {
    pauses++;
  });
  expect(compared).toEqual({ chunks: 2, differences: [] });
  expect(pauses).toBe(2);
});
