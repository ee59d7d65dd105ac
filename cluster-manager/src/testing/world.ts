// A cluster for tests of what the manager plans: everything that is ordered happens, a step at a time, without a clock,
// a socket or a server.
import { strict as assert } from 'node:assert';
import { message } from '@catena/core';
import { type ChangeParts, decide, movesOf, type Outcome } from '../changes.ts';
import { disksOf } from '../disks.ts';
import { type GrowthStep, growthStep, isGrownFrom } from '../growth.ts';
import { Layout, serves, stays } from '../layout.ts';
import { movesPerNodeMax, type Orders, plan } from '../moves.ts';
import { placeChains } from '../placement.ts';

const { PUBLIC_SERVING } = message.PublicState;
const { LEAVES, STAYS } = message.Tenure;

export interface Shape {
  readonly disks: number;
  readonly rack: number;
}

/** A cluster in which everything that is ordered happens, a step at a time. */
export class World {
  nodes: message.Node[];
  chains: message.Chain[];
  changes: readonly message.Change[] = [];
  closed: readonly message.Place[] = [];
  tables: readonly message.ChainTable[];
  /** As the state has it. */
  targetsPerDisk: number;
  readonly replicas: number;

  constructor(shapes: readonly Shape[], targetsPerDisk: number, replicas: number) {
    this.replicas = replicas;
    this.nodes = shapes.map(({ disks, rack }, index) =>
      message.Node.fromPartial({ id: index + 1, alive: true, disks, domain: `rack ${rack}` }),
    );
    const nodes = shapes.map(({ disks, rack }, index) => ({
      node: index + 1,
      disks,
      domain: `rack ${rack}`,
    }));
    const { chains, table } = placeChains({ nodes, targetsPerDisk, replicas });
    this.tables = [table];
    this.targetsPerDisk = targetsPerDisk;
    this.chains = chains.map((chain) => ({
      ...chain,
      members: chain.members.map((member) => ({ ...member, state: PUBLIC_SERVING })),
    }));
  }

  layoutOf(closed: readonly message.Place[], nodes: readonly message.Node[]): Layout {
    const disks = disksOf({ nodes, chains: this.chains, closed, report: () => undefined });
    return new Layout({ chains: this.chains, disks, reported: [] });
  }

  order(
    request: Partial<message.ChangeRequest>,
    clientBelow: ChangeParts['clientBelow'] = () => undefined,
  ): Outcome {
    const { changes, closed, nodes, tables, targetsPerDisk } = this;
    const parts = {
      state: { changes, closed, nodes, tables, targetsPerDisk },
      frozen: [],
      clientBelow,
      layoutOf: (some: readonly message.Place[], of: readonly message.Node[]) => this.layoutOf(some, of),
      nowMs: 1n,
    };
    const outcome = decide(message.ChangeRequest.fromPartial(request), parts);
    this.changes = outcome.changes;
    this.closed = outcome.closed;
    this.targetsPerDisk = outcome.targetsPerDisk;
    this.nodes = [...nodes.filter((node) => !outcome.nodesRemoved.includes(node)), ...outcome.nodesAdded];
    this.apply(outcome.orders);
    return outcome;
  }

  /** As next_chain does with an order. */
  apply(orders: Orders): void {
    this.chains = this.chains.map((chain) => {
      const order = orders.get(chain.id);
      if (order === undefined) return chain;
      const members = chain.members.flatMap((member) => {
        if (order.stays.includes(member.target)) return [{ ...member, tenure: STAYS }];
        if (!order.leaves.includes(member.target)) return [member];
        return serves(member) ? [{ ...member, tenure: LEAVES }] : [];
      });
      const preferred = chain.preferred.flatMap((target) =>
        order.leaves.includes(target) ? [...order.joins.map((join) => join.target), target] : [target],
      );
      return { ...chain, members: [...members, ...order.joins], preferred };
    });
  }

  /** Whoever joined is synced, and then whoever leaves goes. */
  settle(some: (chain: message.Chain) => boolean): void {
    this.chains = this.chains.map((chain) => {
      if (!some(chain)) return chain;
      const members = chain.members.filter(stays).map((member) => ({ ...member, state: PUBLIC_SERVING }));
      const preferred = chain.preferred.filter((target) =>
        members.some((member) => member.target === target),
      );
      return { ...chain, members, preferred };
    });
  }

  /** Plans, checks, and lets things happen, until nothing is left to do. */
  run(check: () => void): number {
    for (let round = 1; round < 2_000; round++) {
      const { orders, done } = plan(movesOf(this.changes), this.layoutOf(this.closed, this.nodes));
      this.apply(orders);
      this.changes = this.changes.filter((change) => !done.includes(change));
      this.grow();
      check();
      if (this.changes.length === 0) return round;
      this.settle((chain) => (chain.id + round) % 3 !== 0);
    }
    throw new Error(
      `still at it: ${JSON.stringify(this.changes, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v))}`,
    );
  }

  growthStep(): GrowthStep {
    const { changes, nodes, closed, tables, targetsPerDisk } = this;
    const layout = this.layoutOf(closed, nodes);
    return growthStep({ others: movesOf(changes).length, nodes, closed, tables, targetsPerDisk, layout });
  }

  /** The next step of a growth that was ordered, as the manager stores it. */
  grow(): void {
    const { CHANGE_GROW } = message.ChangeKind;
    if (!this.changes.some((change) => change.kind === CHANGE_GROW)) return;
    const { chains, table, isDone } = this.growthStep();
    this.chains = [...this.chains, ...chains];
    if (table !== undefined) {
      assert(isGrownFrom(table, this.tables[0]!));
      this.tables = [table];
    }
    if (isDone) this.changes = this.changes.filter((change) => change.kind !== CHANGE_GROW);
  }

  /** A node more, running. */
  start({ disks, rack }: Shape): number {
    const id = 1 + Math.max(...this.nodes.map((node) => node.id));
    const domain = `rack ${rack}`;
    this.order({ action: message.ChangeAction.ACTION_ADD, place: { node: id, disk: undefined }, domain });
    this.nodes = this.nodes.map((node) => (node.id === id ? { ...node, alive: true, disks } : node));
    return id;
  }

  check(): void {
    const busy = new Map<number, number>();
    const targets = new Set<bigint>();
    for (const chain of this.chains) {
      const staying = chain.members.filter(stays);
      assert.equal(staying.length, this.replicas);
      assert.equal(new Set(staying.map((member) => this.rackOf(member.node))).size, this.replicas);
      assert.equal(new Set(chain.members.map((member) => member.node)).size, chain.members.length);
      assert(chain.members.filter(serves).length >= this.replicas - this.lost(chain));
      for (const member of chain.members) {
        assert(!targets.has(member.target));
        targets.add(member.target);
        if (!stays(member)) busy.set(member.node, (busy.get(member.node) ?? 0) + 1);
      }
    }
    for (const moves of busy.values()) assert(moves <= movesPerNodeMax);
  }

  rackOf(node: number): string {
    return this.nodes.find((other) => other.id === node)?.domain ?? '';
  }

  lost(chain: message.Chain): number {
    return chain.members.filter((member) => !serves(member)).length;
  }

  loads(): number[] {
    const layout = this.layoutOf(this.closed, this.nodes);
    return layout.disks.filter((disk) => disk.isOpen).map((disk) => layout.load(disk));
  }
}
