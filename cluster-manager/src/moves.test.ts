import { message } from '@catena/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSettled, serves, stays } from './layout.ts';
import { plan } from './moves.ts';
import { type Shape, World } from './testing/world.ts';

const { PUBLIC_OFFLINE } = message.PublicState;
const { ACTION_DRAIN, ACTION_REPLACE, ACTION_ADD, ACTION_REMOVE, ACTION_ABORT } = message.ChangeAction;

const shapes = fc.array(
  fc.record({ disks: fc.integer({ min: 1, max: 3 }), rack: fc.integer({ min: 1, max: 9 }) }),
  {
    minLength: 3,
    maxLength: 9,
  },
);
const targets = fc.integer({ min: 1, max: 4 });

function worldOf(shape: readonly Shape[], targetsPerDisk: number): World {
  const racks = new Set(shape.map(({ rack }) => rack)).size;
  return new World(shape, targetsPerDisk, Math.min(3, racks));
}

test('a drain is refused, or leaves nothing behind: never fewer copies, never two in a domain, few at once', () => {
  let drained = 0;
  void fc.assert(
    fc.property(
      shapes,
      targets,
      fc.nat(),
      fc.option(fc.nat({ max: 2 }), { nil: undefined }),
      (shape, each, number, disk) => {
        const world = worldOf(shape, each);
        const node = (number % shape.length) + 1;
        const place = { node, disk: disk === undefined ? undefined : disk % shape[node - 1]!.disks };
        const isThere = (member: message.Member): boolean =>
          member.node === node && (place.disk === undefined || member.disk === place.disk);
        const before = JSON.stringify(world.chains.map((chain) => chain.members.map(({ node: at }) => at)));
        try {
          world.order({ action: ACTION_DRAIN, place });
        } catch (error) {
          expect(String(error)).toMatch(/not enough domains left/);
          expect(JSON.stringify(world.chains.map((chain) => chain.members.map(({ node: at }) => at)))).toBe(
            before,
          );
          return;
        }
        world.run(() => world.check());
        expect(world.chains.every((chain) => isSettled(chain) && !chain.members.some(isThere))).toBe(true);
        drained++;
      },
    ),
  );
  expect(drained).toBeGreaterThan(20);
});

test('a drain that is ended midway leaves every chain whole, and the place open', () => {
  void fc.assert(
    fc.property(shapes, targets, fc.nat({ max: 5 }), (shape, each, rounds) => {
      const world = worldOf(shape, each);
      try {
        world.order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } });
      } catch {
        return;
      }
      for (let round = 0; round < rounds && world.changes.length > 0; round++) {
        const { orders, done } = plan(world.changes, world.layoutOf(world.closed, world.nodes));
        world.apply(orders);
        world.changes = world.changes.filter((change) => !done.includes(change));
        if (round % 2 === 0) world.settle((chain) => chain.id % 2 === 0);
      }
      if (world.changes.length === 0) return;
      world.order({ action: ACTION_ABORT, place: { node: 1, disk: undefined } });
      expect(world.changes).toEqual([]);
      expect(world.closed).toEqual([]);
      for (const chain of world.chains) {
        const staying = chain.members.filter(stays);
        expect(staying).toHaveLength(world.replicas);
        expect(staying.every(serves), 'what stays is what served').toBe(true);
      }
    }),
  );
});

test('lost replicas are made anew in their place, whatever else serves, and a drain of a dead node does without it', () => {
  void fc.assert(
    fc.property(shapes, targets, fc.boolean(), (shape, each, inPlace) => {
      const world = worldOf(shape, each);
      if (world.replicas < 2) return;
      world.chains = world.chains.map((chain) => ({
        ...chain,
        members: chain.members.map((member) =>
          member.node === 1 ? { ...member, state: PUBLIC_OFFLINE } : member,
        ),
      }));
      const lost = world.chains.flatMap((chain) => chain.members).filter((member) => member.node === 1);
      if (lost.length === 0) return;
      if (!inPlace)
        world.nodes = world.nodes.map((node) => (node.id === 1 ? { ...node, alive: false } : node));
      const place = { node: 1, disk: undefined };
      if (inPlace) {
        world.order({ action: ACTION_REPLACE, place });
      } else {
        expect(() => world.order({ action: ACTION_REPLACE, place })).toThrow(/does not run/);
        try {
          world.order({ action: ACTION_DRAIN, place });
        } catch {
          return;
        }
      }
      world.run(() => world.check());
      const members = world.chains.flatMap((chain) => chain.members);
      expect(world.chains.every(isSettled)).toBe(true);
      expect(members.some((member) => lost.some((other) => other.target === member.target))).toBe(false);
      const there = members.filter((member) => member.node === 1).map((member) => member.disk);
      expect(there.sort()).toEqual(inPlace ? lost.map((member) => member.disk).sort() : []);
    }),
  );
});

test('what is drained is spread so that the next loss burdens all others nearly alike', () => {
  const count = 10;
  const world = new World(
    Array.from({ length: count }, (_, rack) => ({ disks: 1, rack })),
    45,
    3,
  );
  world.order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } });
  world.run(() => world.check());
  const shared = new Map<string, number>();
  for (const chain of world.chains) {
    const nodes = chain.members.map((member) => member.node).sort((a, b) => a - b);
    for (const a of nodes)
      for (const b of nodes) if (a < b) shared.set(`${a}-${b}`, (shared.get(`${a}-${b}`) ?? 0) + 1);
  }
  // 150 chains of 3 pairs over 36 pairs of nodes: 12.5 each.
  expect(shared.size).toBe(36);
  for (const [pair, chains] of shared) {
    expect(chains, pair).toBeGreaterThanOrEqual(11);
    expect(chains, pair).toBeLessThanOrEqual(14);
  }
});

test('a new node gets its share, and no more moves than that', () => {
  for (const [count, each] of [
    [3, 4],
    [4, 6],
    [9, 5],
    [30, 4],
  ] as const) {
    const world = new World(
      Array.from({ length: count }, (_, rack) => ({ disks: 1, rack })),
      each,
      3,
    );
    const before = new Set(world.chains.flatMap((chain) => chain.members.map((member) => member.target)));
    const { change } = world.order({
      action: ACTION_ADD,
      place: { node: count + 1, disk: undefined },
      domain: 'new',
    });
    expect(change).toBeDefined();
    expect(plan(world.changes, world.layoutOf(world.closed, world.nodes))).toEqual({
      orders: new Map(),
      done: [],
    });
    world.nodes = world.nodes.map((node) =>
      node.id === count + 1 ? { ...node, alive: true, disks: 1 } : node,
    );
    world.run(() => world.check());
    const loads = world.loads();
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
    const moved = world.chains
      .flatMap((chain) => chain.members)
      .filter((member) => !before.has(member.target));
    expect(moved.length).toBe(loads.at(-1));
    expect(moved.every((member) => member.node === count + 1)).toBe(true);
  }
});

test('two changes at once, one of a dead node: neither waits for the other for ever', () => {
  const world = new World(
    Array.from({ length: 6 }, (_, rack) => ({ disks: 2, rack })),
    3,
    3,
  );
  world.order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } });
  world.apply(plan(world.changes, world.layoutOf(world.closed, world.nodes)).orders);
  world.chains = world.chains.map((chain) => ({
    ...chain,
    members: chain.members.map((member) =>
      member.node === 2 ? { ...member, state: PUBLIC_OFFLINE } : member,
    ),
  }));
  world.order({ action: ACTION_REPLACE, place: { node: 2, disk: undefined } });
  world.run(() => undefined);
  expect(world.chains.every(isSettled)).toBe(true);
  expect(world.chains.some((chain) => chain.members.some((member) => member.node === 1))).toBe(false);
});

test('what cannot be done is refused with one sentence, and nothing is begun', () => {
  const world = new World(
    Array.from({ length: 4 }, (_, rack) => ({ disks: 1, rack })),
    3,
    3,
  );
  const at = (node: number, disk?: number): message.Place => ({ node, disk });
  const refused = (request: Partial<message.ChangeRequest>): string => {
    const before = [world.changes, world.closed, world.nodes, world.chains];
    expect(() => world.order(request)).toThrow();
    expect([world.changes, world.closed, world.nodes, world.chains]).toEqual(before);
    try {
      world.order(request);
    } catch (error) {
      return String(error);
    }
    return '';
  };
  expect(refused({ action: ACTION_DRAIN, place: at(9) })).toMatch(/no storage node 9; there are 1, 2, 3, 4/);
  expect(refused({ action: ACTION_DRAIN, place: at(2, 1) })).toMatch(/node 2 has 1 disks/);
  expect(refused({ action: ACTION_DRAIN })).toMatch(/no node is named/);
  expect(refused({ action: ACTION_REMOVE, place: at(2) })).toMatch(
    /node 2 holds 3 replicas; first: catena drain 2/,
  );
  expect(refused({ action: ACTION_ABORT, place: at(2) })).toMatch(/no change of node 2 runs; none runs/);
  expect(refused({ action: ACTION_DRAIN, place: at(1), with: at(2) })).toMatch(
    /node 2 cannot take the replica/,
  );
  expect(refused({ action: ACTION_ADD, place: at(0) })).toMatch(/number 0/);
  expect(world.order({ action: ACTION_REPLACE, place: at(1) }).detail).toMatch(
    /no replica on node 1 is missing/,
  );
  world.order({ action: ACTION_DRAIN, place: at(1) });
  expect(refused({ action: ACTION_DRAIN, place: at(1, 0) })).toMatch(
    /a drain of node 1 already runs; catena drain --abort/,
  );
  expect(refused({ action: ACTION_DRAIN, place: at(2) })).toMatch(
    /not enough domains left: without node 2 there are 2/,
  );
  world.run(() => world.check());
  expect(world.order({ action: ACTION_REMOVE, place: at(1) }).detail).toBe('node 1 is forgotten');
  expect(world.nodes.map((node) => node.id)).toEqual([2, 3, 4]);
});
