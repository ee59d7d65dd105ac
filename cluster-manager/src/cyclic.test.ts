import { expect, test } from 'vitest';
import { cyclicBlocks, DistanceCounts, meanShared, offMeanMax } from './cyclic.ts';

/** Fewest and most chains that any two nodes of different domains share: by arithmetic, for all nodes at once. */
function shared(
  nodes: number,
  domains: number,
  replicas: number,
  blocks: number,
): { least: number; most: number } {
  const circle = { nodes, domains };
  const counts = new DistanceCounts(circle);
  for (const places of cyclicBlocks(circle, replicas, blocks)) {
    expect(new Set(places.map((place) => place % domains)).size).toBe(replicas);
    for (const [index, place] of places.entries()) {
      for (const other of places.slice(0, index)) counts.add(place - other);
    }
  }
  const values = counts.values();
  return { least: Math.min(...values), most: Math.max(...values) };
}

test('every number of nodes from 3 to 1,000: each two share less than two chains more or fewer than the mean', () => {
  for (let nodes = 3; nodes <= 1_000; nodes++) {
    // One block, which is the coarsest; and at times as many as it takes for the promise of ±10 %, which for all
    // large circles would take minutes.
    const many = nodes <= 30 || [101, 250, 499, 1_000].includes(nodes);
    const blocks = many ? [1, Math.ceil((20 * (nodes - 1)) / 6)] : [1];
    for (const count of blocks) {
      const { least, most } = shared(nodes, nodes, 3, count);
      const mean = meanShared({ nodes, domains: nodes }, 3 * count, 3);
      expect(most - mean, `${nodes} nodes, ${count} blocks`).toBeLessThan(offMeanMax);
      expect(mean - least, `${nodes} nodes, ${count} blocks`).toBeLessThan(offMeanMax);
      if (mean < 20) continue;
      expect(most, `${nodes} nodes, ${count} blocks`).toBeLessThanOrEqual(1.1 * mean);
      expect(least, `${nodes} nodes, ${count} blocks`).toBeGreaterThanOrEqual(0.9 * mean);
    }
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
  const blocks = Math.ceil((20 * (nodes - nodes / domains)) / (replicas * (replicas - 1)));
  const mean = meanShared(circle, replicas * blocks, replicas);
  const { least, most } = shared(nodes, domains, replicas, blocks);
  expect(most).toBeLessThanOrEqual(1.1 * mean);
  expect(least).toBeGreaterThanOrEqual(0.9 * mean);
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
