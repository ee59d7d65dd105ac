import { expect, test } from 'vitest';
import { type Circle, cyclicBlocks, DistanceCounts, meanShared, offMeanMax } from './cyclic.ts';

/** Fewest and most chains that any two nodes of different domains share: by arithmetic, for all nodes at once. */
interface Shared {
  readonly blocks: number;
  readonly least: number;
  readonly most: number;
}

/** After one block, two, four ..., and after all. */
function* sharedAfter(circle: Circle, replicas: number, count: number): Generator<Shared> {
  const counts = new DistanceCounts(circle);
  const all = cyclicBlocks(circle, replicas, count);
  const domainsOf = (places: number[]): Set<number> => new Set(places.map((place) => place % circle.domains));
  expect(all.every((places) => domainsOf(places).size === replicas)).toBe(true);
  for (const [index, places] of all.entries()) {
    for (const [place, at] of places.entries()) {
      for (const other of places.slice(0, place)) counts.add(at - other);
    }
    const blocks = index + 1;
    if (blocks !== count && !Number.isInteger(Math.log2(blocks))) continue;
    const values = counts.values();
    yield { blocks, least: Math.min(...values), most: Math.max(...values) };
  }
}

/** As many as it takes for the promise of ±10 %. */
function blocksFor({ nodes, domains }: Circle, replicas: number): number {
  return Math.ceil((20 * (nodes - nodes / domains)) / (replicas * (replicas - 1)));
}

test('every number of nodes from 3 to 1,000: each two share less than two chains more or fewer than the mean', () => {
  for (let nodes = 3; nodes <= 1_000; nodes++) {
    const circle = { nodes, domains: nodes };
    // For all large circles it would take a minute.
    const many = nodes <= 150 || nodes % 50 === 0;
    let promised = 0;
    for (const { blocks, least, most } of sharedAfter(circle, 3, many ? blocksFor(circle, 3) : 1)) {
      const mean = meanShared(circle, 3 * blocks, 3);
      expect(most - mean, `${nodes} nodes, ${blocks} blocks`).toBeLessThan(offMeanMax);
      expect(mean - least, `${nodes} nodes, ${blocks} blocks`).toBeLessThan(offMeanMax);
      if (mean < 20) continue;
      promised++;
      expect(most, `${nodes} nodes, ${blocks} blocks`).toBeLessThanOrEqual(1.1 * mean);
      expect(least, `${nodes} nodes, ${blocks} blocks`).toBeGreaterThanOrEqual(0.9 * mean);
    }
    expect(promised > 0).toBe(many);
  }
});

test.each([
  [2, 16, 16],
  [2, 25, 25],
  [3, 12, 4],
  [3, 40, 8],
  [4, 30, 10],
  [5, 16, 16],
  [5, 60, 12],
])('%i copies over %i nodes in %i domains', (replicas, nodes, domains) => {
  const circle = { nodes, domains };
  const blocks = blocksFor(circle, replicas);
  const mean = meanShared(circle, replicas * blocks, replicas);
  const [last] = [...sharedAfter(circle, replicas, blocks)].slice(-1);
  expect(last?.blocks).toBe(blocks);
  expect(last?.most).toBeLessThanOrEqual(1.1 * mean);
  expect(last?.least).toBeGreaterThanOrEqual(0.9 * mean);
});

test('what is counted by distance is what the chains have in common', () => {
  const [nodes, replicas] = [12, 3];
  const blocks = cyclicBlocks({ nodes, domains: 4 }, replicas, 5);
  const counts = new DistanceCounts({ nodes, domains: 4 });
  for (const places of blocks) {
    for (const [index, place] of places.entries()) {
      for (const other of places.slice(0, index)) counts.add(place - other);
    }
  }
  const pairs = new Map<string, number>();
  for (const places of blocks) {
    for (let turn = 0; turn < nodes; turn++) {
      const members = places.map((place) => (place + turn) % nodes);
      for (const a of members) {
        for (const b of members) {
          if (a < b) pairs.set(`${a}-${b}`, (pairs.get(`${a}-${b}`) ?? 0) + 1);
        }
      }
    }
  }
  const byDistance = [1, 2, 3, 5, 6].map((distance) => {
    const all = Array.from({ length: nodes }, (_, a) =>
      [a, (a + distance) % nodes].sort((x, y) => x - y).join('-'),
    );
    expect(new Set(all.map((pair) => pairs.get(pair) ?? 0)).size, `distance ${distance}`).toBe(1);
    return pairs.get(all[0]!) ?? 0;
  });
  expect(counts.values()).toEqual(byDistance);
});
