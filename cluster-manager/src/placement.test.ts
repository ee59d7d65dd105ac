import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Placement, placeChains } from './placement.ts';

const even = (nodes: number, disks: number): { node: number; disks: number }[] =>
  Array.from({ length: nodes }, (_, index) => ({ node: index + 1, disks }));

function count(values: Iterable<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function spread(counts: Map<number, number>): number {
  return Math.max(...counts.values()) - Math.min(...counts.values());
}

/** How many chains each pair of nodes shares. */
function partners(placement: Placement, nodes: number): number[] {
  const shared: number[] = [];
  for (let a = 1; a <= nodes; a++) {
    for (let b = a + 1; b <= nodes; b++) {
      const both = (chain: Placement['chains'][number]): boolean =>
        [a, b].every((node) => chain.members.some((member) => member.node === node));
      shared.push(placement.chains.filter(both).length);
    }
  }
  return shared;
}

test('the default: three nodes, one disk, four targets make four chains of three', () => {
  const { chains, table, spare } = placeChains({ nodes: even(3, 1), targetsPerDisk: 4, replicas: 3 });
  expect(chains.map((chain) => chain.id)).toEqual([1, 2, 3, 4]);
  expect(table).toEqual({ id: 1, version: 1, chains: [1, 2, 3, 4], lengths: [] });
  expect(spare).toBe(0);
  expect(chains[0]?.members.map((member) => member.target)).toEqual([1_000_001n, 2_000_001n, 3_000_001n]);
  expect(chains.every((chain) => chain.version === 1n && chain.last.length === 0)).toBe(true);
  expect([...count(chains.map((chain) => chain.members[0]!.node)).values()].sort()).toEqual([1, 1, 2]);
});

test('always: no node twice in a chain, no target twice, nothing left over that could make a chain', () => {
  const shapes = fc
    .array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 9 })
    .map((disks) => disks.map((number, index) => ({ node: index + 1, disks: number })));
  void fc.assert(
    fc.property(
      shapes,
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 4 }),
      (nodes, targetsPerDisk, copies) => {
        const replicas = Math.min(copies, nodes.length);
        const { chains, spare } = placeChains({ nodes, targetsPerDisk, replicas });
        const members = chains.flatMap((chain) => chain.members);
        for (const chain of chains) {
          expect(chain.members).toHaveLength(replicas);
          expect(new Set(chain.members.map((member) => member.node)).size).toBe(replicas);
          expect(chain.preferred).toEqual(chain.members.map((member) => member.target));
        }
        expect(new Set(members.map((member) => member.target)).size).toBe(members.length);
        for (const { target, node, disk } of members) {
          expect(target / 1000n).toBe(BigInt(node) * 1000n + BigInt(disk));
          expect(disk).toBeLessThan(nodes[node - 1]!.disks);
        }
        // What is left: as many targets as counted, and too few nodes have one to make another chain.
        const all = nodes.map((shape) => shape.disks * targetsPerDisk);
        const used = count(members.map((member) => member.node));
        const left = all.map((number, index) => number - (used.get(index + 1) ?? 0));
        expect(left.reduce((sum, number) => sum + number, 0)).toBe(spare);
        expect(left.filter((number) => number > 0).length).toBeLessThan(replicas);
      },
    ),
  );
});

test('equal nodes: every target is used, heads and partners are spread evenly', () => {
  for (const [nodes, disks, targetsPerDisk, replicas] of [
    [3, 1, 4, 3],
    [4, 1, 6, 3],
    [5, 2, 6, 3],
    [6, 2, 5, 2],
    [7, 1, 9, 3],
    [10, 4, 9, 3],
    [13, 1, 12, 3],
    [20, 2, 12, 3],
  ] as const) {
    const placement = placeChains({ nodes: even(nodes, disks), targetsPerDisk, replicas });
    const name = `${nodes}×${disks}×${targetsPerDisk}, ${replicas} copies`;
    const targets = nodes * disks * targetsPerDisk;
    expect(placement.chains.length, name).toBe(Math.floor(targets / replicas));
    const members = placement.chains.flatMap((chain) => chain.members);
    expect(spread(count(members.map((member) => member.node))), name).toBeLessThanOrEqual(1);
    expect(spread(count(placement.chains.map((chain) => chain.members[0]!.node))), name).toBeLessThanOrEqual(
      2,
    );
    const shared = partners(placement, nodes);
    const ideal = (placement.chains.length * replicas * (replicas - 1)) / (nodes * (nodes - 1));
    expect(Math.max(...shared), name).toBeLessThanOrEqual(Math.ceil(ideal) + 1);
    if (ideal >= 2) expect(Math.min(...shared), name).toBeGreaterThanOrEqual(1);
  }
});

test('a node that is lost burdens each other one within ten percent of even, where each two share twenty chains', () => {
  for (const nodes of [3, 4, 7, 12, 25]) {
    // So many that the mean is 20 or a little more, and the last chains are not of whole turns of the circle.
    const targetsPerDisk = 10 * (nodes - 1) + 1;
    const placement = placeChains({ nodes: even(nodes, 1), targetsPerDisk, replicas: 3 });
    const shared = partners(placement, nodes);
    const mean = shared.reduce((sum, chains) => sum + chains, 0) / shared.length;
    expect(mean, `${nodes} nodes`).toBeGreaterThanOrEqual(20);
    expect(Math.max(...shared), `${nodes} nodes`).toBeLessThanOrEqual(1.1 * mean);
    expect(Math.min(...shared), `${nodes} nodes`).toBeGreaterThanOrEqual(0.9 * mean);
  }
});

test('failure domains, equal or not: never two copies in one, and nothing left over that could make a chain', () => {
  const shapes = fc.array(
    fc.record({ disks: fc.integer({ min: 1, max: 3 }), rack: fc.integer({ min: 1, max: 5 }) }),
    {
      minLength: 1,
      maxLength: 12,
    },
  );
  void fc.assert(
    fc.property(
      shapes,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      (shape, targetsPerDisk, copies) => {
        const nodes = shape.map(({ disks, rack }, index) => ({
          node: index + 1,
          disks,
          domain: `rack ${rack}`,
        }));
        const racks = new Set(shape.map(({ rack }) => rack));
        const replicas = Math.min(copies, racks.size);
        const { chains, spare } = placeChains({ nodes, targetsPerDisk, replicas });
        const rackOf = (member: { node: number }): number => shape[member.node - 1]!.rack;
        for (const chain of chains) expect(new Set(chain.members.map(rackOf)).size).toBe(replicas);
        const targets = chains.flatMap((chain) => chain.members.map((member) => member.target));
        expect(new Set(targets).size).toBe(targets.length);
        const used = count(chains.flatMap((chain) => chain.members.map(rackOf)));
        const all = new Map<number, number>();
        for (const { disks, rack } of shape) all.set(rack, (all.get(rack) ?? 0) + disks * targetsPerDisk);
        const left = [...all].map(([rack, number]) => number - (used.get(rack) ?? 0));
        expect(left.reduce((sum, number) => sum + number, 0)).toBe(spare);
        expect(left.filter((number) => number > 0).length).toBeLessThan(replicas);
      },
    ),
  );
});

test('a thousand nodes of eight disks in a hundred racks, and one of them smaller, are placed at once', () => {
  const nodes = Array.from({ length: 1_000 }, (_, index) => ({
    node: index + 1,
    disks: 8,
    domain: `rack ${index % 100}`,
  }));
  for (const shapes of [nodes, nodes.map((shape) => (shape.node === 500 ? { ...shape, disks: 5 } : shape))]) {
    const { chains, spare } = placeChains({ nodes: shapes, targetsPerDisk: 4, replicas: 3 });
    expect(spare).toBeLessThan(3);
    expect(chains.length).toBe(Math.floor(shapes.reduce((sum, { disks }) => sum + disks * 4, 0) / 3));
    const racksOf = (chain: (typeof chains)[number]): Set<number> =>
      new Set(chain.members.map(({ node }) => (node - 1) % 100));
    expect(chains.every((chain) => racksOf(chain).size === 3)).toBe(true);
    // Each node shares chains with so many others: no pair meets often while others never do.
    const pairs = count(
      chains.flatMap(({ members: [a, b, c] }) =>
        [a!, b!, c!].flatMap((x, _, all) =>
          all.filter((y) => y.node > x.node).map((y) => x.node * 1e4 + y.node),
        ),
      ),
    );
    expect(Math.max(...pairs.values())).toBeLessThanOrEqual(2);
  }
});

test('what cannot be placed is refused with a sentence', () => {
  const place = (nodes: number, targetsPerDisk: number, replicas: number): unknown =>
    placeChains({ nodes: even(nodes, 1), targetsPerDisk, replicas });
  expect(() => place(2, 4, 3)).toThrow(/3 copies need as many storage nodes, there are 2/);
  expect(() => place(3, 0, 3)).toThrow(/targets per disk/);
  expect(() => place(3, 4, 0)).toThrow(/copies/);
  expect(() =>
    placeChains({ nodes: [...even(2, 1), { node: 1, disks: 1 }], targetsPerDisk: 1, replicas: 2 }),
  ).toThrow(/one number/);
  const racks = even(4, 1).map((shape) => ({ ...shape, domain: `rack ${shape.node % 2}` }));
  expect(() => placeChains({ nodes: racks, targetsPerDisk: 1, replicas: 3 })).toThrow(
    /3 copies need as many failure domains, there are 2/,
  );
});
