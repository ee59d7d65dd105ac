// Which targets make a chain: from nodes × disks × targets to a chain table. Pure. No node holds two copies
// of a chain, every target is in one chain, and the partners of a node are spread over all other nodes, so
// that its loss burdens them evenly.
import { strict as assert } from 'node:assert';
import { FsError, message } from '@catena/core';

export interface StorageNodeShape {
  readonly node: number;
  readonly disks: number;
}

export interface PlacementRequest {
  readonly nodes: readonly StorageNodeShape[];
  readonly targetsPerDisk: number;
  readonly replicas: number;
}

export interface Placement {
  readonly chains: message.Chain[];
  readonly table: message.ChainTable;
  /** Targets that no chain could take: fewer than `replicas` of them, or too many on one node. */
  readonly spare: number;
}

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
  const free = new Map(request.nodes.map((shape) => [shape.node, targetsOf(shape, request.targetsPerDisk)]));
  const partners = new Map<string, number>();
  const headed = new Map<number, number>();
  const chains: message.Chain[] = [];
  const total = [...free.values()].reduce((sum, targets) => sum + targets.length, 0);
  for (;;) {
    const members = chooseMembers(free, partners, request.replicas);
    if (members === undefined) break;
    chains.push(chainOf(chains.length + 1, inOrder(members, headed)));
  }
  const table = { id: 1, version: 1, chains: chains.map((chain) => chain.id) };
  return { chains, table, spare: total - chains.length * request.replicas };
}

/**
 * One chain: the fullest node, then those that were partners of the chosen ones least. As many of its nodes
 * as necessary are of those that must be in every chain still to come, or targets would be left over that no
 * chain can take.
 */
function chooseMembers(
  free: Map<number, Free[]>,
  partners: Map<string, number>,
  replicas: number,
): Free[] | undefined {
  const left = new Map([...free].map(([node, targets]) => [node, targets.length]));
  const chains = chainsPossible([...left.values()], replicas);
  if (chains === 0) return undefined;
  // After this chain, `chains - 1` more must be possible: each node with fewer targets than chains that is
  // taken costs one place.
  const after = [...left.values()].reduce((sum, targets) => sum + Math.min(targets, chains - 1), 0);
  let smallAllowed = after - replicas * (chains - 1);
  const chosen: number[] = [];
  while (chosen.length < replicas) {
    const shared = (node: number): number =>
      chosen.reduce((sum, other) => sum + (partners.get(pairOf(node, other)) ?? 0), 0);
    const candidates = [...left]
      .filter(([node, targets]) => targets > 0 && !chosen.includes(node))
      .filter(([, targets]) => targets >= chains || smallAllowed > 0)
      .map(([node, targets]) => ({ node, targets, shared: shared(node) }));
    candidates.sort((a, b) => a.shared - b.shared || b.targets - a.targets || a.node - b.node);
    const best = candidates[0];
    assert(best !== undefined, 'a chain that is possible has a member');
    if (best.targets < chains) smallAllowed--;
    chosen.push(best.node);
  }
  for (const [index, node] of chosen.entries()) {
    for (const other of chosen.slice(index + 1)) {
      partners.set(pairOf(node, other), (partners.get(pairOf(node, other)) ?? 0) + 1);
    }
  }
  return chosen.map((node) => {
    const target = free.get(node)?.shift();
    assert(target !== undefined);
    return target;
  });
}

/**
 * The most chains of so many targets per node, when no node is twice in one: a node serves each at most once.
 */
function chainsPossible(targets: readonly number[], replicas: number): number {
  let chains = Math.floor(targets.reduce((sum, number) => sum + number, 0) / replicas);
  const usable = (limit: number): number => targets.reduce((sum, number) => sum + Math.min(number, limit), 0);
  while (chains > 0 && usable(chains) < replicas * chains) chains--;
  return chains;
}

/** The head gets every write first: each node heads about as many chains as each other node. */
function inOrder(members: Free[], headed: Map<number, number>): Free[] {
  const heads = (member: Free): number => headed.get(member.node) ?? 0;
  const sorted = [...members].sort((a, b) => heads(a) - heads(b) || a.node - b.node);
  const head = sorted[0];
  assert(head !== undefined);
  headed.set(head.node, heads(head) + 1);
  // The rest in the order of the ring after the head, so that second places are spread too.
  const rest = sorted.slice(1).sort((a, b) => a.node - b.node);
  return [head, ...rest.filter((m) => m.node > head.node), ...rest.filter((m) => m.node < head.node)];
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

function pairOf(a: number, b: number): string {
  return a < b ? `${a}-${b}` : `${b}-${a}`;
}

function check(request: PlacementRequest): void {
  const { nodes, replicas, targetsPerDisk } = request;
  const refuse = (sentence: string): never => {
    throw new FsError('INVALID_ARGUMENT', sentence);
  };
  const whole = (value: number, max: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= max;
  if (!whole(replicas, 16)) refuse('copies must be 1 to 16');
  if (!whole(targetsPerDisk, 999)) refuse('targets per disk must be 1 to 999');
  if (nodes.some((shape) => !whole(shape.disks, 999) || !whole(shape.node, 1_000_000))) {
    refuse('every node needs a number from 1 and 1 to 999 disks');
  }
  if (new Set(nodes.map((shape) => shape.node)).size !== nodes.length) refuse('two nodes with one number');
  if (nodes.length < replicas)
    refuse(`${replicas} copies need as many storage nodes, there are ${nodes.length}`);
}
