import { message } from '@catena/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chainsPerStepMax, growthFeatureLevel, tableVersionsMax } from './growth.ts';
import { serves } from './layout.ts';
import { chainsOf } from './placement.ts';
import { type Shape, World } from './testing/world.ts';

const { ACTION_ABORT, ACTION_ADD, ACTION_DRAIN, ACTION_GROW } = message.ChangeAction;
const grow = { action: ACTION_GROW };

const equal = (count: number, disks = 1): Shape[] =>
  Array.from({ length: count }, (_, rack) => ({ disks, rack }));

/** Chains that a cluster made with the nodes of today would have. */
function wanted(world: World): number {
  const nodes = world.nodes.map(({ id, disks, domain }) => ({ node: id, disks, domain }));
  return chainsOf({ nodes, targetsPerDisk: world.targetsPerDisk, replicas: world.replicas });
}

/** How far from the mean: the chains that a node heads, and those that two nodes share. */
function unevenness(world: World): { heads: number; shared: number } {
  const heads = new Map(world.nodes.map(({ id }) => [id, 0]));
  const shared = new Map(
    world.nodes.flatMap(({ id }) =>
      world.nodes.flatMap((other) => (id < other.id ? [[`${id} ${other.id}`, 0]] : [])),
    ),
  ) as Map<string, number>;
  for (const { members, preferred } of world.chains) {
    const head = members.find((member) => member.target === preferred[0])!.node;
    heads.set(head, heads.get(head)! + 1);
    const nodes = members.map((member) => member.node).sort((a, b) => a - b);
    for (const [index, node] of nodes.entries()) {
      for (const other of nodes.slice(index + 1))
        shared.set(`${node} ${other}`, shared.get(`${node} ${other}`)! + 1);
    }
  }
  const off = (counts: Map<unknown, number>): number => {
    const mean = [...counts.values()].reduce((sum, count) => sum + count, 0) / counts.size;
    return Math.max(...[...counts.values()].map((count) => Math.abs(count - mean)));
  };
  return { heads: off(heads), shared: off(shared) };
}

test('three nodes that become N: every target is used, however many growths that takes; old chains keep their places', () => {
  for (const [disks, targetsPerDisk, nodes] of [
    [1, 4, 4],
    [1, 4, 12],
    [1, 3, 30],
    [2, 4, 9],
  ] as const) {
    for (const isOneGrowth of [true, false]) {
      const world = new World(equal(3, disks), targetsPerDisk, 3);
      const [first] = world.tables as [message.ChainTable];
      for (let rack = 3; rack < nodes; rack++) {
        world.start({ disks, rack });
        if (isOneGrowth && rack < nodes - 1) continue;
        world.order(grow);
        world.run(() => world.check());
      }
      const [table] = world.tables as [message.ChainTable];
      const targets = nodes * disks * targetsPerDisk;
      const name = `${nodes} × ${disks} × ${targetsPerDisk}, ${isOneGrowth ? 'one growth' : 'many'}`;
      expect(table.chains, name).toHaveLength(Math.floor(targets / 3));
      expect(table.chains.slice(0, first.chains.length), name).toEqual(first.chains);
      expect(new Set(table.chains).size, name).toBe(table.chains.length);
      expect(world.chains.map((chain) => chain.id).sort(), name).toEqual([...table.chains].sort());
      const loads = world.loads();
      expect(Math.max(...loads), name).toBe(targetsPerDisk);
      expect(
        loads.reduce((sum, load) => sum + load, 0),
        name,
      ).toBe(3 * Math.floor(targets / 3));
      const off = unevenness(world);
      expect(off.heads, name).toBeLessThanOrEqual(2);
      expect(off.shared, name).toBeLessThanOrEqual(isOneGrowth ? 2 : 3);
      if (isOneGrowth) expect([table.version, table.lengths], name).toEqual([2, [first.chains.length]]);
    }
  }
});

test('any cluster that gains any nodes and disks: domains are kept, and what is left over makes no chain', () => {
  const shape = fc.record({ disks: fc.integer({ min: 1, max: 3 }), rack: fc.integer({ min: 1, max: 6 }) });
  let grew = 0;
  void fc.assert(
    fc.property(
      fc.array(shape, { minLength: 3, maxLength: 6 }),
      fc.array(shape, { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat(), { maxLength: 3 }),
      fc.integer({ min: 1, max: 4 }),
      (before, after, disksMore, targetsPerDisk) => {
        const racks = new Set(before.map(({ rack }) => rack)).size;
        const world = new World(before, targetsPerDisk, Math.min(3, racks));
        const [first] = world.tables as [message.ChainTable];
        for (const one of after) world.start(one);
        for (const number of disksMore) {
          const at = number % world.nodes.length;
          world.nodes = world.nodes.map((node, index) =>
            index === at ? { ...node, disks: node.disks + 1 } : node,
          );
        }
        world.order(grow);
        world.run(() => world.check());
        const [table] = world.tables as [message.ChainTable];
        expect(table.chains.slice(0, first.chains.length)).toEqual(first.chains);
        expect([...table.chains].sort()).toEqual(world.chains.map((chain) => chain.id).sort());
        expect(table.chains.length).toBeLessThanOrEqual(Math.max(first.chains.length, wanted(world)));
        expect(table.version).toBe(table.chains.length > first.chains.length ? 2 : 1);
        if (table.version === 2) grew++;
        // What every disk has left of its share, by domain: too few domains have some, or there are enough chains.
        const layout = world.layoutOf([], world.nodes);
        const left = new Map<string, number>();
        for (const disk of layout.disks) {
          const free = Math.max(0, targetsPerDisk - layout.load(disk));
          left.set(disk.domain, (left.get(disk.domain) ?? 0) + free);
        }
        const domainsLeft = [...left.values()].filter((free) => free > 0).length;
        expect(domainsLeft < world.replicas || table.chains.length === wanted(world)).toBe(true);
        // Given again it changes nothing.
        expect(world.order(grow).change).toBeUndefined();
      },
    ),
  );
  expect(grew).toBeGreaterThan(50);
});

test('chains are made when nothing else changes and every node is there, and listed when all of them serve', () => {
  const world = new World(equal(3), 4, 3);
  world.start({ disks: 1, rack: 3 });
  world.start({ disks: 2, rack: 4 });
  world.start({ disks: 1, rack: 5 });
  const { change, detail } = world.order(grow);
  expect(detail).toBe('the chain table grows by new chains, which waits for 3 other changes to end');
  expect(world.order(grow)).toMatchObject({ change, detail: 'a growth runs already' });
  expect(world.growthStep()).toMatchObject({ chains: [], isDone: false, waitsFor: '3 other changes to end' });
  world.changes = world.changes.filter((other) => other === change);
  world.nodes = world.nodes.map((node) => (node.id === 4 ? { ...node, alive: false } : node));
  expect(world.growthStep()).toMatchObject({ chains: [], isDone: false });
  expect(world.growthStep().waitsFor).toMatch(/^node 4 to run; if it is gone for good: catena drain 4$/);
  world.nodes = world.nodes.map((node) => ({ ...node, alive: true }));
  // A disk that fails takes no new chain; who wants to grow without it drains it.
  const whole = world.chains;
  world.chains = whole.map((chain) => ({
    ...chain,
    members: chain.members.map((member) =>
      member.target === whole[2]!.members[1]!.target
        ? { ...member, state: message.PublicState.PUBLIC_OFFLINE }
        : member,
    ),
  }));
  expect(world.growthStep()).toMatchObject({ chains: [], isDone: false, waitsFor: 'chain 3 to be whole' });
  world.chains = whole;
  // Nothing has moved: the old disks are full, and what is free makes four of the chains that are missing.
  expect(world.growthStep()).toMatchObject({ missing: 5, unlisted: 0, waitsFor: undefined });
  world.grow();
  const made = world.chains.slice(4);
  expect(made).toHaveLength(4);
  expect(
    made.every(({ version, last, members }) => version === 1n && last.length === 0 && !members.some(serves)),
  ).toBe(true);
  // They are in no table, whoever else begins something now.
  world.order({ action: ACTION_ADD, place: { node: 9, disk: undefined } });
  expect(world.growthStep()).toMatchObject({ chains: [], table: undefined, waitsFor: 'chain 5 to serve' });
  world.grow();
  expect(world.tables).toMatchObject([{ version: 1 }]);
  world.settle((chain) => chain.id !== made.at(-1)!.id);
  expect(world.growthStep()).toMatchObject({ table: undefined, waitsFor: 'chain 8 to serve' });
  world.settle(() => true);
  world.grow();
  expect(world.tables).toMatchObject([
    { version: 2, lengths: [4], chains: world.chains.map(({ id }) => id) },
  ]);
  expect(world.changes.map((other) => other.kind)).not.toContain(message.ChangeKind.CHANGE_GROW);
});

test('a growth that waits can be ended, one that has made chains ends by itself', () => {
  const world = new World(equal(3), 4, 3);
  const end = { action: ACTION_ABORT };
  expect(() => world.order(end)).toThrow(/no growth runs/);
  for (let rack = 3; rack < 6; rack++) world.start({ disks: 1, rack });
  world.order(grow);
  expect(world.order(end).detail).toBe('the growth ends; nothing was made');
  world.run(() => world.check());
  expect([world.chains.length, world.tables[0]!.version]).toEqual([4, 1]);
  world.order(grow);
  world.grow();
  expect(world.chains).toHaveLength(8);
  expect(() => world.order(end)).toThrow(/4 chains are made: they are in the table when all of them serve/);
  world.run(() => world.check());
  expect(world.tables).toMatchObject([{ version: 2, lengths: [4] }]);
});

test('a drained node gets no new chain and keeps none from being made, also if it is gone', () => {
  const world = new World(equal(5), 3, 3);
  world.order({ action: ACTION_DRAIN, place: { node: 5, disk: undefined } });
  world.run(() => world.check());
  world.nodes = world.nodes.map((node) => (node.id === 5 ? { ...node, alive: false } : node));
  expect(world.order(grow).detail).toBe(
    'nothing to grow: 4 disks with 3 targets each carry no more than the 5 chains of 3 that there are',
  );
  world.start({ disks: 3, rack: 7 });
  world.order(grow);
  world.run(() => world.check());
  expect(world.tables[0]!.chains).toHaveLength(5 + 1);
  expect(world.chains.some((chain) => chain.members.some((member) => member.node === 5))).toBe(false);
});

test('what is refused is refused in one line: too many versions, a client of an older release, no number of targets', () => {
  const world = new World(equal(3), 4, 3);
  for (let rack = 3; rack < 6; rack++) world.start({ disks: 1, rack });
  world.run(() => world.check());
  const refusal = (request = grow, clientBelow?: (featureLevel: number) => string | undefined): string => {
    try {
      world.order(request, clientBelow);
    } catch (error) {
      return String(error);
    }
    return 'done';
  };
  const older = refusal(grow, (level) =>
    level === growthFeatureLevel ? 'mount, process 7 on a' : undefined,
  );
  expect(older).toMatch(/misread by an older release: end or update first: mount, process 7 on a$/);
  const [table] = world.tables as [message.ChainTable];
  const lengths = Array.from({ length: tableVersionsMax - 1 }, () => 4);
  world.tables = [{ ...table, version: tableVersionsMax, lengths }];
  expect(refusal()).toMatch(/chain table 1 has 1024 versions, more it cannot have/);
  world.tables = [table];
  world.targetsPerDisk = 0;
  expect(refusal()).toMatch(/kept no number of targets per disk: name it, 1 to 999/);
  expect([world.changes, world.chains.length, world.targetsPerDisk]).toEqual([[], 4, 0]);
  const { featureLevel } = world.order({ ...grow, targetsPerDisk: 4 });
  expect([featureLevel, world.targetsPerDisk]).toEqual([growthFeatureLevel, 4]);
  world.run(() => world.check());
  expect(world.tables).toMatchObject([{ version: 2, lengths: [4] }]);
});

test('a growth of many nodes comes in steps, and its table is one version more', () => {
  const world = new World(equal(3, 8), 4, 3);
  const more = Array.from({ length: 117 }, (_, index) =>
    message.Node.fromPartial({ id: index + 4, alive: true, disks: 8, domain: `rack ${3 + (index % 30)}` }),
  );
  world.nodes = [...world.nodes, ...more];
  world.order(grow);
  let steps = 0;
  for (; world.changes.length > 0; steps++) {
    const before = world.chains.length;
    world.grow();
    expect(world.chains.length - before).toBeLessThanOrEqual(chainsPerStepMax);
    if (world.chains.length === before) world.settle(() => true);
  }
  expect(steps).toBeGreaterThan(Math.floor((120 * 8 * 4) / 3) / chainsPerStepMax);
  expect(world.tables).toMatchObject([{ version: 2, lengths: [32] }]);
  expect(world.chains).toHaveLength(Math.floor((120 * 8 * 4) / 3));
  world.check();
});
