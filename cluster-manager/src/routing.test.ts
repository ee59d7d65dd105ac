import { message } from '@catena/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type RoutingChange, RoutingTable } from './routing.ts';

const stored = {
  recordVersion: 1,
  featureLevel: 1,
  fencedClients: [],
  changes: [],
  closed: [],
  targetsPerDisk: 4,
};
const record = (): message.ManagerRecord =>
  message.ManagerRecord.fromPartial({
    recordVersion: 1,
    cluster: 'c',
    featureLevel: 1,
    routingVersion: 1n,
    nodes: [1, 2].map((id) => ({ id, kind: message.NodeKind.NODE_STORAGE })),
    chains: [1, 2, 3].map((id) => ({ id, version: 1n })),
    tables: [{ id: 1, version: 1, chains: [1, 2, 3] }],
  });
const client = (number: number): Buffer => Buffer.alloc(16, number);

/** A receiver as the data plane writes it: whole tables replace, deltas fit on top of exactly their base. */
class Holder {
  version = 0n;
  nodes = new Map<string, message.Node>();
  chains = new Map<number, message.Chain>();
  clients = new Set<string>();
  fencing = new Set<string>();
  readonly tables = new Map<number, message.ChainTable>();

  apply(routing: message.Routing | undefined): void {
    if (routing === undefined) return;
    if (routing.fromVersion === 0n) {
      this.nodes.clear();
      this.chains.clear();
      this.tables.clear();
      this.clients.clear();
      this.fencing.clear();
    } else {
      expect(routing.fromVersion).toBe(this.version);
    }
    this.version = routing.version;
    for (const node of routing.nodes) this.nodes.set(`${node.kind} ${node.id}`, node);
    for (const chain of routing.chains) this.chains.set(chain.id, chain);
    for (const table of routing.tables) this.tables.set(table.id, table);
    for (const id of routing.clientsAdded) this.clients.add(id.toString('hex'));
    for (const id of routing.clientsRemoved) {
      this.clients.delete(id.toString('hex'));
      this.fencing.add(id.toString('hex'));
    }
    for (const id of routing.clientsFenced) this.fencing.delete(id.toString('hex'));
  }
}

/** Chains are made first, and listed with the next change. */
function grow(table: RoutingTable, count: number, change: (what: RoutingChange) => void): void {
  const [newest] = table.tables as [message.ChainTable];
  const ids = Array.from({ length: count }, (_, index) => newest.chains.length + 1 + index);
  change({ chains: ids.map((id) => message.Chain.fromPartial({ id, version: 1n })) });
  const { version, chains, lengths } = newest;
  change({
    tables: [
      {
        id: 1,
        version: version + 1,
        chains: [...chains, ...ids],
        lengths: [...lengths, chains.length],
      },
    ],
  });
}

test('whoever applies whole tables and deltas, at any pace, holds what the manager holds', () => {
  const step = fc.oneof(
    fc.record({ what: fc.constant('chain' as const), id: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ what: fc.constant('node' as const), id: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ what: fc.constant('join' as const), id: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ what: fc.constant('leave' as const), id: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ what: fc.constant('fenced' as const), id: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ what: fc.constant('read' as const), id: fc.integer({ min: 0, max: 2 }) }),
    fc.record({ what: fc.constant('restart' as const), id: fc.constant(0) }),
    fc.record({ what: fc.constant('grow' as const), id: fc.integer({ min: 1, max: 3 }) }),
  );
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let last = record();
      let table = new RoutingTable(last);
      const holders = [new Holder(), new Holder(), new Holder()];
      const joined = new Set<number>();
      const left = new Set<number>();
      const change = (what: RoutingChange): void => {
        last = table.recordAfter(what, stored);
        table.apply(what);
      };
      for (const { what, id } of steps) {
        if (what === 'chain') {
          const before = table.chains.find((chain) => chain.id === id)!;
          change({ chains: [{ ...before, version: before.version + 1n }] });
        } else if (what === 'node') {
          const address = `n:${table.version}`;
          change({ nodes: [message.Node.fromPartial({ id, kind: message.NodeKind.NODE_META, address })] });
        } else if (what === 'join' && !joined.has(id)) {
          joined.add(id);
          change({ clientsAdded: [client(id)] });
        } else if (what === 'leave' && joined.has(id) && !left.has(id)) {
          left.add(id);
          change({ clientsRemoved: [client(id)] });
        } else if (what === 'fenced' && left.has(id)) {
          change({ clientsFenced: [client(id)] });
        } else if (what === 'read') {
          const holder = holders[id]!;
          holder.apply(table.since(holder.version));
        } else if (what === 'restart') {
          table = new RoutingTable(last);
        } else if (what === 'grow') {
          grow(table, id, change);
        }
      }
      for (const holder of holders) {
        holder.apply(table.since(holder.version));
        const whole = new Holder();
        whole.apply(table.whole());
        expect(holder.version).toBe(table.version);
        expect([...holder.tables]).toEqual([...whole.tables]);
        expect([...holder.nodes].sort()).toEqual([...whole.nodes].sort());
        expect([...holder.chains].sort()).toEqual([...whole.chains].sort());
        expect([...holder.clients].sort()).toEqual([...whole.clients].sort());
        expect([...holder.fencing].sort()).toEqual([...whole.fencing].sort());
      }
      expect(new RoutingTable(last).whole()).toEqual(table.whole());
    }),
  );
});

test('a delta names only what changed, and who is current gets nothing', () => {
  const table = new RoutingTable(record());
  expect(table.since(1n)).toBeUndefined();
  table.apply({ chains: [message.Chain.fromPartial({ id: 2, version: 2n })] });
  const delta = table.since(1n);
  expect(delta).toMatchObject({ version: 2n, fromVersion: 1n, nodes: [], tables: [] });
  expect(delta?.chains.map((chain) => chain.id)).toEqual([2]);
  expect(table.since(7n)?.fromVersion).toBe(0n);
  expect(table.since(0n)?.fromVersion).toBe(0n);
});

test('a table goes to whoever lacks it, once, and never loses a chain', () => {
  const table = new RoutingTable(record());
  const made: RoutingChange[] = [];
  grow(table, 2, (what) => {
    made.push(what);
    table.apply(what);
  });
  expect(table.since(2n)?.tables).toEqual([{ id: 1, version: 2, chains: [1, 2, 3, 4, 5], lengths: [3] }]);
  table.apply({ chains: [message.Chain.fromPartial({ id: 5, version: 2n })] });
  expect(table.since(3n)).toMatchObject({ tables: [], chains: [{ id: 5 }] });
  expect(table.whole().tables).toHaveLength(1);
  expect(() => table.apply({ chains: [message.Chain.fromPartial({ id: 9, version: 2n })] })).toThrow(
    /goes back/,
  );
  const [{ id, version, chains }] = table.tables as [message.ChainTable];
  for (const wrong of [
    { id, version: 3, chains: chains.slice(1), lengths: [3, 5] },
    { id, version: 3, chains: [2, 1, 3, 4, 5, 6], lengths: [3, 5] },
    { id, version: 3, chains: [...chains, 6], lengths: [3] },
    { id, version: 3, chains: [...chains, 6], lengths: [4, 5] },
    { id, version: 4, chains: [...chains, 6], lengths: [3, 5] },
    { id: 2, version: 1, chains: [6], lengths: [] },
  ]) {
    expect(() => table.apply({ tables: [wrong] })).toThrow(/loses chains/);
  }
  expect([id, version]).toEqual([1, 2]);
});

test('more removals than are kept: the whole table', () => {
  const table = new RoutingTable(record());
  for (let round = 0; round < 5_000; round++) table.apply({ clientsRemoved: [client(round & 0xff)] });
  expect(table.since(2n)?.fromVersion).toBe(0n);
  expect(table.since(4_000n)?.fromVersion).toBe(4_000n);
});

test('a chain that goes back is our bug', () => {
  const table = new RoutingTable(record());
  expect(() => table.apply({ chains: [message.Chain.fromPartial({ id: 2, version: 1n })] })).toThrow(
    /goes back/,
  );
});
