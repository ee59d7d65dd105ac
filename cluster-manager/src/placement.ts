// Which targets make a chain: from nodes × disks × targets to a chain table, and to the chains that a grown cluster
// gets beside its old ones. Pure. No failure domain holds two copies of a chain, every target is in one chain, and the
// partners of a node are spread over all nodes of other domains, so that its loss burdens them evenly: by arithmetic
// where nodes are equal (cyclic.ts says how evenly), chain by chain for what is left over, for unequal ones, and beside
// chains that exist.
import { strict as assert } from 'node:assert';
import { FsError, message } from '@catena/core';
import { type Circle, cyclicBlocks } from './cyclic.ts';

export interface StorageNodeShape {
  readonly node: number;
  readonly disks: number;
  /** Failure domain; absent or empty: the node is its own. */
  readonly domain?: string;
}

export interface PlacementRequest {
  readonly nodes: readonly StorageNodeShape[];
  readonly targetsPerDisk: number;
  readonly replicas: number;
}

export interface Placement {
  readonly chains: message.Chain[];
  readonly table: message.ChainTable;
  /** Targets that no chain could take: fewer than `replicas` of them, or too many in one domain. */
  readonly spare: number;
}

/** What a number of three digits can name. */
export const targetsPerDiskMax = 999;

/** Node, disk and number of a target can be read in its id: node × 1e6 + disk × 1e3 + number. */
export function targetId(node: number, disk: number, number: number): bigint {
  return BigInt(node) * 1_000_000n + BigInt(disk) * 1_000n + BigInt(number);
}

interface Free {
  readonly node: number;
  readonly disk: number;
  readonly target: bigint;
}

/** A node with the targets that no chain has yet. */
interface NodeWithRoom {
  readonly node: number;
  readonly domain: string;
  readonly free: Free[];
}

export interface DiskWithRoom {
  readonly node: number;
  readonly disk: number;
  readonly domain: string;
  /** Numbers of targets that chains may get. */
  readonly targets: readonly bigint[];
}

export interface AdditionRequest {
  readonly chains: readonly message.Chain[];
  readonly disks: readonly DiskWithRoom[];
  readonly replicas: number;
  readonly most: number;
}

/** How many chains `placeChains` makes of these. */
export function chainsOf({ nodes, targetsPerDisk, replicas }: PlacementRequest): number {
  const targets = new Map<string, number>();
  for (const shape of nodes) {
    const domain = domainOf(shape);
    targets.set(domain, (targets.get(domain) ?? 0) + shape.disks * targetsPerDisk);
  }
  return chainsPossible([...targets.values()], replicas);
}

/** Chains beside those that exist, as many as there is room for, and not more than `most`. */
export function placeAdditions({ chains, disks, replicas, most }: AdditionRequest): message.Chain[] {
  const pool = new Pool(nodesOf(disks));
  for (const chain of chains) pool.note(chain);
  const possible = Math.min(most, pool.chainsPossible(replicas));
  const firstId = 1 + chains.reduce((highest, { id }) => Math.max(highest, id), 0);
  return Array.from({ length: possible }, (_, made) => {
    const members = pool.take(pool.inOrder(pool.choose(replicas, possible - made)));
    return chainOf(firstId + made, members);
  });
}

export function placeChains(request: PlacementRequest): Placement {
  check(request);
  const { nodes, targetsPerDisk, replicas } = request;
  const pool = new Pool(
    nodes.map((shape) => ({
      node: shape.node,
      domain: domainOf(shape),
      free: targetsOf(shape, targetsPerDisk),
    })),
  );
  const total = pool.left;
  const chains: message.Chain[] = [];
  const circle = pool.circle();
  if (circle !== undefined) {
    const targetsPerNode = total / circle.nodes;
    for (const places of cyclicBlocks(circle, replicas, Math.floor(targetsPerNode / replicas))) {
      for (let turn = 0; turn < circle.nodes; turn++) {
        const members = places.map((place) => (place + turn) % circle.nodes);
        chains.push(chainOf(chains.length + 1, pool.take(members)));
      }
    }
  }
  for (let possible = pool.chainsPossible(replicas); possible > 0; possible--) {
    chains.push(chainOf(chains.length + 1, pool.take(pool.inOrder(pool.choose(replicas, possible)))));
  }
  const table = { id: 1, version: 1, chains: chains.map((chain) => chain.id), lengths: [] };
  return { chains, table, spare: total - chains.length * replicas };
}

/** The nodes with their free targets, by place: neighbours are of different domains where that can be. */
class Pool {
  readonly #nodes: readonly number[];
  readonly #places: ReadonlyMap<number, number>;
  /** By place: which domain, its free targets, how many chains it heads. */
  readonly #domain: Int32Array;
  readonly #free: Free[][];
  readonly #heads: Int32Array;
  /** Free targets of each domain. */
  readonly #left: Int32Array;
  /** Chains that two places share: row × nodes + column. */
  readonly #shared: Uint16Array;

  constructor(nodes: readonly NodeWithRoom[]) {
    const byDomain = new Map<string, NodeWithRoom[]>();
    for (const node of nodes) {
      const others = byDomain.get(node.domain);
      if (others === undefined) byDomain.set(node.domain, [node]);
      else others.push(node);
    }
    const domains = [...byDomain.values()];
    const rounds = domains.reduce((most, { length }) => Math.max(most, length), 0);
    const dealt = Array.from({ length: rounds }, (_, round) =>
      domains.flatMap((nodes, domain) => (round < nodes.length ? [{ place: nodes[round]!, domain }] : [])),
    ).flat();
    this.#nodes = dealt.map(({ place }) => place.node);
    this.#places = new Map(this.#nodes.map((node, place) => [node, place]));
    this.#domain = Int32Array.from(dealt, ({ domain }) => domain);
    this.#free = dealt.map(({ place }) => [...place.free]);
    this.#heads = new Int32Array(dealt.length);
    this.#left = new Int32Array(domains.length);
    for (const [place, free] of this.#free.entries()) this.#left[this.#domain[place]!]! += free.length;
    this.#shared = new Uint16Array(dealt.length ** 2);
  }

  get left(): number {
    return this.#left.reduce((sum, targets) => sum + targets, 0);
  }

  /** Equal nodes in equal domains stand on a circle; others do not. */
  circle(): Circle | undefined {
    const [nodes, domains] = [this.#nodes.length, this.#left.length];
    const equal = this.#free.every((free) => free.length === this.#free[0]?.length);
    return equal && this.#domain.every((domain, place) => domain === place % domains) && nodes % domains === 0
      ? { nodes, domains }
      : undefined;
  }

  /** A chain that exists: whom its nodes share it with. A node without room is chosen for nothing. */
  note(chain: message.Chain): void {
    const inOrder = chain.preferred.map((target) => chain.members.find((member) => member.target === target));
    this.#share(inOrder.flatMap((member) => this.#places.get(member?.node ?? 0) ?? []));
  }

  #share(places: readonly number[]): void {
    for (const [index, place] of places.entries()) {
      if (index === 0) this.#heads[place]!++;
      for (const other of places.slice(0, index)) {
        this.#shared[place * this.#nodes.length + other]!++;
        this.#shared[other * this.#nodes.length + place]!++;
      }
    }
  }

  /** The next free target of each of these places: they share one chain more. */
  take(places: readonly number[]): Free[] {
    this.#share(places);
    return places.map((place) => {
      this.#left[this.#domain[place]!]!--;
      const target = this.#free[place]?.shift();
      assert(target !== undefined);
      return target;
    });
  }

  /** The most chains that can still be made. */
  chainsPossible(replicas: number): number {
    return chainsPossible([...this.#left], replicas);
  }

  /**
   * One chain of `possible` ones: the places that were partners of the chosen ones least, then the fullest. As many
   * as necessary are of domains that must be in every chain still to come, or targets would be left over that no
   * chain can take.
   */
  choose(replicas: number, possible: number): number[] {
    // After this chain, `possible - 1` more must be possible: each domain with fewer targets than chains that is
    // taken costs one place.
    const after = this.#left.reduce((sum, targets) => sum + Math.min(targets, possible - 1), 0);
    let smallAllowed = after - replicas * (possible - 1);
    const chosen: number[] = [];
    const taken = new Set<number>();
    while (chosen.length < replicas) {
      const best = this.#best(chosen, taken, smallAllowed > 0 ? 1 : possible);
      assert(best !== undefined, 'a chain that is possible has a member');
      if (this.#left[this.#domain[best]!]! < possible) smallAllowed--;
      chosen.push(best);
      taken.add(this.#domain[best]!);
    }
    return chosen;
  }

  /** Of a domain that is not taken and has so many targets at least. */
  #best(chosen: readonly number[], taken: ReadonlySet<number>, domainLeast: number): number | undefined {
    let best: number | undefined;
    let leastShared = Number.POSITIVE_INFINITY;
    let mostFree = 0;
    const [domains, left, frees, sharing, nodes] = [
      this.#domain,
      this.#left,
      this.#free,
      this.#shared,
      this.#nodes.length,
    ];
    for (let place = 0; place < nodes; place++) {
      const free = frees[place]!.length;
      const domain = domains[place]!;
      if (free === 0 || left[domain]! < domainLeast || taken.has(domain)) continue;
      let shared = 0;
      for (let index = 0; index < chosen.length; index++) shared += sharing[chosen[index]! * nodes + place]!;
      if (shared > leastShared || (shared === leastShared && free <= mostFree)) continue;
      best = place;
      leastShared = shared;
      mostFree = free;
    }
    return best;
  }

  /** The head gets every write first: each node heads about as many chains as each other node. */
  inOrder(places: readonly number[]): number[] {
    const sorted = [...places].sort((a, b) => this.#heads[a]! - this.#heads[b]! || a - b);
    const [head, ...others] = sorted;
    assert(head !== undefined);
    // The rest in the order of the circle after the head, so that second places are spread too.
    const rest = others.sort((a, b) => a - b);
    return [head, ...rest.filter((place) => place > head), ...rest.filter((place) => place < head)];
  }
}

/** The most chains of the free targets of each domain, which serves each chain at most once. */
function chainsPossible(targets: readonly number[], replicas: number): number {
  const usable = (limit: number): number => targets.reduce((sum, left) => sum + Math.min(left, limit), 0);
  let [none, most] = [0, Math.floor(usable(Number.POSITIVE_INFINITY) / replicas)];
  while (none < most) {
    const middle = Math.ceil((none + most) / 2);
    if (usable(middle) >= replicas * middle) none = middle;
    else most = middle - 1;
  }
  return none;
}

/** What the node fails together with. */
export function domainOf(shape: { readonly node: number; readonly domain?: string }): string {
  return shape.domain === undefined || shape.domain === '' ? `node ${shape.node}` : shape.domain;
}

/** Targets alternate between the disks of a node, so that neighbouring chains use different ones. */
function targetsOf(shape: StorageNodeShape, targetsPerDisk: number): Free[] {
  return Array.from({ length: shape.disks * targetsPerDisk }, (_, index) => {
    const disk = index % shape.disks;
    const number = Math.floor(index / shape.disks) + 1;
    return { node: shape.node, disk, target: targetId(shape.node, disk, number) };
  });
}

/** The nodes of these disks; the targets of each go in turns over its disks, from the one with the most room on. */
function nodesOf(disks: readonly DiskWithRoom[]): NodeWithRoom[] {
  const nodes = new Map<number, { node: number; domain: string; disks: DiskWithRoom[] }>();
  for (const disk of disks) {
    const known = nodes.get(disk.node);
    if (known === undefined) nodes.set(disk.node, { node: disk.node, domain: disk.domain, disks: [disk] });
    else known.disks.push(disk);
  }
  return [...nodes.values()].map(({ node, domain, disks: own }) => {
    const free = own.flatMap(({ disk, targets }) =>
      targets.map((target, index) => ({ node, disk, target, left: targets.length - index })),
    );
    return { node, domain, free: free.sort((a, b) => b.left - a.left || a.disk - b.disk) };
  });
}

/** As stored before it ever served: version 1, everybody offline, nobody last (see next_chain). */
function chainOf(id: number, members: readonly Free[]): message.Chain {
  return message.Chain.fromPartial({
    id,
    version: 1n,
    members: members.map(({ target, node, disk }) => ({
      target,
      node,
      disk,
      state: message.PublicState.PUBLIC_OFFLINE,
    })),
    durabilityEpoch: 1n,
    preferred: members.map((member) => member.target),
    last: [],
  });
}

function check(request: PlacementRequest): void {
  const { nodes, replicas, targetsPerDisk } = request;
  const refuse = (sentence: string): never => {
    throw new FsError('INVALID_ARGUMENT', sentence);
  };
  const whole = (value: number, max: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= max;
  if (!whole(replicas, 16)) refuse('copies must be 1 to 16');
  if (!whole(targetsPerDisk, targetsPerDiskMax)) refuse(`targets per disk must be 1 to ${targetsPerDiskMax}`);
  if (nodes.some((shape) => !whole(shape.disks, 999) || !whole(shape.node, 1_000_000))) {
    refuse('every node needs a number from 1 and 1 to 999 disks');
  }
  if (new Set(nodes.map((shape) => shape.node)).size !== nodes.length) refuse('two nodes with one number');
  if (nodes.length < replicas)
    refuse(`${replicas} copies need as many storage nodes, there are ${nodes.length}`);
  const domains = new Set(nodes.map(domainOf)).size;
  if (domains < replicas) refuse(`${replicas} copies need as many failure domains, there are ${domains}`);
}
