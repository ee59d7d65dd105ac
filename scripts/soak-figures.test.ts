import { expect, test } from 'vitest';
import { figuresOf, nextSeed, recordedRanges, sumOfRanges, sumsOfCommits } from './soak-figures.mjs';

test('figures are found in what the runners print', () => {
  const text = [
    'stdout | tests/faults/random-kills.test.ts > five',
    'seed 7; to repeat: CATENA_SEED=7 node_modules/.bin/vitest run x.test.ts',
    'kills: {"operations":12,"longestMs":3.5}',
    'kills: {"operations":13,"longestMs":4.5}',
    'slow-disk: {"equalMs":9}',
    'test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured',
    'test result: FAILED. 2 passed; 1 failed; 0 ignored',
    'error: {this is no figure}',
  ].join('\n');
  expect(figuresOf(text)).toEqual({
    kills: [
      { operations: 12, longestMs: 3.5 },
      { operations: 13, longestMs: 4.5 },
    ],
    'slow-disk': { equalMs: 9 },
    repeat: 'CATENA_SEED=7 node_modules/.bin/vitest run x.test.ts',
    tests: { passed: 9, failed: 1 },
  });
  expect(figuresOf('nothing here\n')).toEqual({});
});

test('ranges of seeds go on behind the last one, and add up', () => {
  const line = (first: number, last: number, kept: boolean, undecided?: number): string =>
    JSON.stringify({
      ...{ commit: 'a', first, last, events: 10, operations: 3, faults: 2, undecided },
      ...{ cpuSeconds: 1.5, kept },
    });
  // The first line is of an older version.
  const lines = [line(100, 200, true), line(300, 350, false, 3), line(200, 300, true, 1)];
  const text = `${lines.join('\n')}\n{"first":900,"la`;
  const ranges = recordedRanges(text);
  expect(ranges).toHaveLength(3);
  expect(nextSeed(ranges, 0)).toBe(350);
  expect(nextSeed(recordedRanges(''), 1_000)).toBe(1_000);
  expect(sumOfRanges(ranges)).toEqual({
    seeds: 250,
    events: 30,
    operations: 9,
    faults: 6,
    undecided: 4,
    cpuSeconds: 5,
    broken: 1,
  });
  const later = { commit: 'b', first: 350, last: 360, events: 1, kept: true };
  expect(sumsOfCommits([...ranges, later])).toEqual({
    a: { seeds: 250, events: 30, broken: 1 },
    b: { seeds: 10, events: 1, broken: 0 },
  });
});
