// Which targets make a chain: from nodes × disks × targets to a chain table. Pure. No failure domain holds two
// copies of a chain, every target is in one chain, and the partners of a node are spread over all nodes of other
// domains, so that its loss burdens them evenly: by arithmetic where nodes are equal (cyclic.ts says how evenly),
// chain by chain for what is left over and for unequal ones.
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

export function placeChains(request: PlacementRequest): Placement {
  check(request);
  const { replicas } = request;
  const pool = new Pool(request);
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
  const table = { id: 1, version: 1, chains: chains.map((chain) => chain.id) };
  return { chains, table, spare: total - chains.length * replicas };
}

/** The nodes with their free targets, by place: neighbours are of different domains where that can be. */
class Pool {
  readonly #nodes: readonly StorageNodeShape[];
  /** By place: which domain, its free targets, how many chains it heads. */
  readonly #domain: Int32Array;
  readonly #free: Free[][];
  readonly #heads: Int32Array;
  /** Free targets of each domain. */
  readonly #left: Int32Array;
  /** Chains that two places share: row × nodes + column. */
  readonly #shared: Uint16Array;

  constructor(request: PlacementRequest) {
    const byDomain = new Map<string, StorageNodeShape[]>();
    for (const shape of request.nodes) {
      const domain = domainOf(shape);
      byDomain.set(domain, [...(byDomain.get(domain) ?? []), shape]);
    }
    const domains = [...byDomain.values()];
    const rounds = Math.max(...domains.map((nodes) => nodes.length));
    const dealt = Array.from({ length: rounds }, (_, round) =>
      domains.flatMap((nodes, domain) => (round < nodes.length ? [{ shape: nodes[round]!, domain }] : [])),
    ).flat();
    this.#nodes = dealt.map(({ shape }) => shape);
    this.#domain = Int32Array.from(dealt, ({ domain }) => domain);
    this.#free = this.#nodes.map((shape) => targetsOf(shape, request.targetsPerDisk));
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

  /** The next free target of each of these places: they share one chain more. */
  take(places: readonly number[]): Free[] {
    for (const [index, place] of places.entries()) {
      this.#left[this.#domain[place]!]!--;
      if (index === 0) this.#heads[place]!++;
      for (const other of places.slice(0, index)) {
        this.#shared[place * this.#nodes.length + other]!++;
        this.#shared[other * this.#nodes.length + place]!++;
      }
    }
    return places.map((place) => {
      const target = this.#free[place]?.shift();
      assert(target !== undefined);
      return target;
    });
  }

  /** The most chains that can still be made: a domain serves each at most once. */
  chainsPossible(replicas: number): number {
    const usable = (limit: number): number =>
      this.#left.reduce((sum, targets) => sum + Math.min(targets, limit), 0);
    let [none, most] = [0, Math.floor(this.left / replicas)];
    while (none < most) {
      const middle = Math.ceil((none + most) / 2);
      if (usable(middle) >= replicas * middle) none = middle;
      else most = middle - 1;
    }
    return none;
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
