// The routing table and its changes: what every node and client knows of the cluster. Pure. Versions only
// rise, also over a restart of the manager, because each is stored before it is told (P3). A delta replaces
// the entries that it names.
import { strict as assert } from 'node:assert';
import type { message } from '@catena/core';
import { isGrownFrom } from './growth.ts';
import { type NodeKey, nameOf, type StoredNode } from './leases.ts';

/** Ends of clients that deltas can still name; who is further behind gets the whole table. */
const endsMax = 4_096;

export interface RoutingChange {
  readonly nodes?: readonly message.Node[];
  /** They hold nothing: whoever still knows them asks them nothing. */
  readonly nodesRemoved?: readonly message.Node[];
  /** New ones, too, which begin at version 1. */
  readonly chains?: readonly message.Chain[];
  /** They gained chains. */
  readonly tables?: readonly message.ChainTable[];
  /** The next version is above this one, too. */
  readonly above?: bigint;
  readonly clientsAdded?: readonly Buffer[];
  readonly clientsRemoved?: readonly Buffer[];
  /** Of those that were removed: the fence holds (P4). */
  readonly clientsFenced?: readonly Buffer[];
}

interface Dated<T> {
  readonly value: T;
  readonly changed: bigint;
}

export class RoutingTable {
  readonly cluster: string;
  #version: bigint;
  /** Who holds an older version than this gets the whole table: earlier changes are not known one by one. */
  #deltasFrom: bigint;
  readonly #nodes = new Map<string, Dated<message.Node>>();
  readonly #chains = new Map<number, Dated<message.Chain>>();
  readonly #clients = new Map<string, Dated<Buffer>>();
  /** No longer live, and not fenced everywhere. */
  readonly #fencing = new Map<string, message.FencingClient>();
  readonly #tables = new Map<number, Dated<message.ChainTable>>();
  #ends: (Dated<Buffer> & { readonly fenced: boolean })[] = [];

  constructor(record: message.ManagerRecord) {
    this.cluster = record.cluster;
    this.#version = record.routingVersion;
    this.#deltasFrom = record.routingVersion;
    const changed = record.routingVersion;
    for (const node of record.nodes)
      this.#nodes.set(nameOf({ kind: node.kind, node: node.id }), { value: node, changed });
    for (const chain of record.chains) this.#chains.set(chain.id, { value: chain, changed });
    for (const table of record.tables) this.#tables.set(table.id, { value: table, changed });
    for (const id of record.clients) this.#clients.set(id.toString('hex'), { value: id, changed });
    for (const one of record.fencingClients) this.#fencing.set(one.client.toString('hex'), one);
  }

  get version(): bigint {
    return this.#version;
  }
  get chains(): message.Chain[] {
    return [...this.#chains.values()].map((dated) => dated.value);
  }
  get tables(): message.ChainTable[] {
    return [...this.#tables.values()].map((dated) => dated.value);
  }
  /** Clients that do not live and are not fenced everywhere. */
  get fencing(): message.FencingClient[] {
    return [...this.#fencing.values()];
  }
  get nodes(): message.Node[] {
    return [...this.#nodes.values()].map((dated) => dated.value);
  }

  node(kind: message.NodeKind, id: number): message.Node | undefined {
    return this.#nodes.get(nameOf({ kind, node: id }))?.value;
  }

  /** The newest process that ever registered as this node. */
  processOf({ kind, node }: NodeKey): StoredNode {
    return this.node(kind, node) ?? { incarnation: 0n, pid: 0 };
  }

  /** The next version with this change, to be stored before `apply`. */
  recordAfter(
    change: RoutingChange,
    record: Pick<
      message.ManagerRecord,
      'recordVersion' | 'featureLevel' | 'fencedClients' | 'changes' | 'closed' | 'targetsPerDisk'
    >,
  ): message.ManagerRecord {
    const nodes = new Map([...this.#nodes].map(([name, dated]) => [name, dated.value]));
    for (const node of change.nodes ?? []) nodes.set(nameOf({ kind: node.kind, node: node.id }), node);
    for (const node of change.nodesRemoved ?? []) nodes.delete(nameOf({ kind: node.kind, node: node.id }));
    const chains = new Map([...this.#chains].map(([id, dated]) => [id, dated.value]));
    for (const chain of change.chains ?? []) chains.set(chain.id, chain);
    const tables = new Map([...this.#tables].map(([id, dated]) => [id, dated.value]));
    for (const table of change.tables ?? []) tables.set(table.id, table);
    const clients = new Map([...this.#clients].map(([id, dated]) => [id, dated.value]));
    const fencing = new Map(this.#fencing);
    for (const id of change.clientsRemoved ?? []) {
      clients.delete(id.toString('hex'));
      fencing.set(id.toString('hex'), { client: id, version: this.#next(change) });
    }
    for (const id of change.clientsFenced ?? []) fencing.delete(id.toString('hex'));
    for (const id of change.clientsAdded ?? []) clients.set(id.toString('hex'), id);
    return {
      ...record,
      cluster: this.cluster,
      routingVersion: this.#next(change),
      nodes: [...nodes.values()],
      chains: [...chains.values()],
      tables: [...tables.values()],
      clients: [...clients.values()],
      fencingClients: [...fencing.values()],
    };
  }

  #next({ above = 0n }: RoutingChange): bigint {
    return (above > this.#version ? above : this.#version) + 1n;
  }

  /** Makes a stored change the current version. */
  apply(change: RoutingChange): void {
    const changed = this.#next(change);
    for (const node of change.nodes ?? []) {
      this.#nodes.set(nameOf({ kind: node.kind, node: node.id }), { value: node, changed });
    }
    for (const node of change.nodesRemoved ?? []) {
      this.#nodes.delete(nameOf({ kind: node.kind, node: node.id }));
    }
    for (const chain of change.chains ?? []) {
      const before = this.#chains.get(chain.id)?.value;
      const follows = before === undefined ? chain.version === 1n : chain.version > before.version;
      assert(follows, `chain ${chain.id} goes back`);
      this.#chains.set(chain.id, { value: chain, changed });
    }
    for (const table of change.tables ?? []) {
      const before = this.#tables.get(table.id)?.value;
      assert(before !== undefined && isGrownFrom(table, before), `table ${table.id} loses chains`);
      this.#tables.set(table.id, { value: table, changed });
    }
    for (const id of change.clientsRemoved ?? []) {
      this.#clients.delete(id.toString('hex'));
      this.#fencing.set(id.toString('hex'), { client: id, version: changed });
      this.#ends.push({ value: id, changed, fenced: false });
    }
    for (const id of change.clientsFenced ?? []) {
      this.#fencing.delete(id.toString('hex'));
      this.#ends.push({ value: id, changed, fenced: true });
    }
    for (const id of change.clientsAdded ?? []) this.#clients.set(id.toString('hex'), { value: id, changed });
    const surplus = this.#ends.length - endsMax;
    if (surplus > 0) {
      this.#deltasFrom = this.#ends[surplus - 1]!.changed;
      this.#ends = this.#ends.slice(surplus);
    }
    this.#version = changed;
  }

  whole(): message.Routing {
    return {
      version: this.#version,
      fromVersion: 0n,
      cluster: this.cluster,
      nodes: this.nodes,
      chains: this.chains,
      tables: this.tables,
      clientsAdded: [...this.#clients.values()].map((dated) => dated.value),
      clientsRemoved: this.fencing.map((one) => one.client),
      clientsFenced: [],
    };
  }

  /**
   * What a holder of `base` lacks; undefined if nothing. A version that we never gave out gets the whole
   * table.
   */
  since(base: bigint): message.Routing | undefined {
    if (base === this.#version) return undefined;
    if (base < this.#deltasFrom || base > this.#version) return this.whole();
    const newer = <T>(entries: Iterable<Dated<T>>): T[] =>
      [...entries].filter((dated) => dated.changed > base).map((dated) => dated.value);
    return {
      version: this.#version,
      fromVersion: base,
      cluster: this.cluster,
      nodes: newer(this.#nodes.values()),
      chains: newer(this.#chains.values()),
      tables: newer(this.#tables.values()),
      clientsAdded: newer(this.#clients.values()),
      clientsRemoved: newer(this.#ends.filter((end) => !end.fenced)),
      clientsFenced: newer(this.#ends.filter((end) => end.fenced)),
    };
  }
}
