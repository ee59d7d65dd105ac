import { expect, test } from 'vitest';
import { describeChange, nodeOf } from './changes.ts';

const change = { id: 1, node: 4, disk: null, left: 5, moving: 2, waitsFor: null };

test('a change is told in one line: replicas that move, or chains that are made', () => {
  expect(describeChange({ ...change, kind: 'drain' })).toBe('drain of node 4: 5 replicas left, 2 moving');
  expect(describeChange({ ...change, kind: 'replacement', disk: 1, waitsFor: 'a disk' })).toBe(
    'replacement of disk 1 of node 4: 5 replicas left, 2 moving; waits for a disk',
  );
  const growth = { ...change, kind: 'growth', node: 0 };
  expect(describeChange(growth)).toBe('growth: 5 new chains left, 2 of them made');
  expect(describeChange({ ...growth, moving: 0, waitsFor: 'node 4 to run' })).toBe(
    'growth: 5 new chains left, 0 of them made; waits for node 4 to run',
  );
});

test('a node is named by its number or its name', () => {
  expect([nodeOf('2'), nodeOf('storage-12')]).toEqual([2, 12]);
  for (const wrong of ['', 'meta', 'storage-', '-1', '2.5', 'storage-2x']) {
    expect(() => nodeOf(wrong)).toThrow(/names no storage node/);
  }
});
