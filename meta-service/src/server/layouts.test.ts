import type { message } from '@catena/core';
import { expect, test } from 'vitest';
import { TableLayouts } from './layouts.ts';

const before = { id: 1, version: 1, chains: [1, 2, 3, 4], lengths: [] };
const after = { id: 1, version: 2, chains: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], lengths: [4] };

/** The chains on which new files begin, as a client finds them. */
function firsts(layouts: TableLayouts, chains: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (let ordinal = 2n; ordinal < 1202n; ordinal++) {
    const chain = chains[layouts.forFile(undefined, ordinal).first]!;
    counts.set(chain, (counts.get(chain) ?? 0) + 1);
  }
  return counts;
}

test('a file names the newest version of its table, and new files begin on all its chains alike', () => {
  const layouts = new TableLayouts({ chunkSizeBytes: 1 << 20, stripe: 16 });
  expect(() => layouts.forFile(undefined, 2n)).toThrow(/no chain table is known yet/);
  layouts.add([before], true);
  expect(layouts.forFile(undefined, 2n)).toMatchObject({ table: 1, tableVersion: 1, stripe: 4 });
  expect([...firsts(layouts, before.chains).keys()].sort()).toEqual([1, 2, 3, 4]);
  // As it comes when it grew: a delta that names it alone.
  layouts.add([after], false);
  expect(layouts.forFile(undefined, 2n)).toMatchObject({ table: 1, tableVersion: 2, stripe: 12 });
  const counts = firsts(layouts, after.chains);
  expect(counts.size).toBe(12);
  for (const count of counts.values()) expect(Math.abs(count - 100)).toBeLessThan(10);
});

test('what a directory wants of its files holds in every version of the table', () => {
  const layouts = new TableLayouts({ chunkSizeBytes: 1 << 20, stripe: 16 });
  layouts.add([before], true);
  const wanted: message.Layout = {
    table: 1,
    tableVersion: 0,
    chunkSize: 1 << 16,
    stripe: 6,
    first: 0,
    flushEachWrite: true,
  };
  const directory = layouts.forDirectory(wanted);
  const file = { table: 1, chunkSize: 1 << 16, flushEachWrite: true };
  expect(layouts.forFile(directory, 5n)).toMatchObject({ ...file, tableVersion: 1, stripe: 4 });
  layouts.add([after], true);
  expect(layouts.forFile(directory, 5n)).toMatchObject({ ...file, tableVersion: 2, stripe: 6 });
});
