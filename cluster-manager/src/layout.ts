// Where every replica is and may go, as a working copy for planning: an order is counted as soon as it is made, so
// that the next one sees it. Pure. Rules: no two members of a chain that stay are in one failure domain, and a node
// holds one member of a chain at a time, also while one leaves.
import { message } from '@catena/core';
import { targetId, targetsPerDiskMax } from './placement.ts';

const { STAYS, LEAVES } = message.Tenure;
const { PUBLIC_SERVING, PUBLIC_OFFLINE } = message.PublicState;

export interface Disk {
  readonly node: number;
  readonly disk: number;
  readonly domain: string;
  /** New replicas may come: not drained, its node is there, and it has space. */
  readonly isOpen: boolean;
  /** The administrator wants nothing new there. */
  readonly isClosed: boolean;
}

export interface LayoutParts {
  readonly chains: readonly message.Chain[];
  readonly disks: readonly Disk[];
  /** Targets that lie on disks and may be in no chain any more: their numbers are not given again. */
  readonly reported: Iterable<bigint>;
}

export function isAt(place: message.Place, at: { readonly node: number; readonly disk: number }): boolean {
  return place.node === at.node && (place.disk === undefined || place.disk === at.disk);
}

export function stays(member: message.Member): boolean {
  return member.tenure === STAYS;
}

export function serves(member: message.Member): boolean {
  return member.state === PUBLIC_SERVING;
}

/** Every member that stays serves, and nobody is about to leave. */
export function isSettled(chain: message.Chain): boolean {
  return chain.members.every((member) => serves(member) && stays(member));
}

export class Layout {
  readonly disks: readonly Disk[];
  readonly #domains: ReadonlyMap<number, string>;
  readonly #chains: Map<number, message.Chain>;
  readonly #taken: Set<bigint>;
  /** Highest number of a target ever seen on a disk, and replicas that are there or come. */
  readonly #numbers = new Map<string, number>();
  readonly #load = new Map<string, number>();
  /** Chains that two nodes share; counted when the first place is looked for. */
  #shared: Map<string, number> | undefined;

  constructor({ chains, disks, reported }: LayoutParts) {
    this.disks = disks;
    this.#domains = new Map(disks.map(({ node, domain }) => [node, domain]));
    this.#chains = new Map(chains.map((chain) => [chain.id, chain]));
    this.#taken = new Set(reported);
    for (const member of chains.flatMap((chain) => chain.members)) {
      this.#taken.add(member.target);
      if (stays(member)) this.#addLoad(member, 1);
    }
    for (const target of this.#taken) {
      const key = `${target / 1_000_000n}/${(target / 1_000n) % 1_000n}`;
      this.#numbers.set(key, Math.max(this.#numbers.get(key) ?? 0, Number(target % 1_000n)));
    }
  }

  get chains(): Iterable<message.Chain> {
    return this.#chains.values();
  }

  /** Replicas that are on the disk to stay, or come. */
  load(disk: { readonly node: number; readonly disk: number }): number {
    return this.#load.get(keyOf(disk)) ?? 0;
  }

  /** Whether the disk may hold a member of this chain in the place of the one that leaves. */
  mayTake(chain: message.Chain, leaving: message.Member, disk: Disk): boolean {
    if (!disk.isOpen || this.unusedTargets(disk, 1).length === 0) return false;
    return chain.members.every((member) => {
      // Who does not serve is gone as soon as it is told to leave.
      if (member.target === leaving.target) return !serves(member) || member.node !== disk.node;
      if (member.node === disk.node) return false;
      return !stays(member) || this.#domains.get(member.node) !== disk.domain;
    });
  }

  /**
   * The least loaded of the disks that may take it; of equal ones that whose node shares the fewest chains with those
   * that stay, so that the loss of one goes on to burden all others alike.
   */
  bestDisk(
    chain: message.Chain,
    leaving: message.Member,
    allowed: (disk: Disk) => boolean = () => true,
  ): Disk | undefined {
    const others = chain.members.filter((member) => stays(member) && member.target !== leaving.target);
    let best: Disk | undefined;
    let [leastLoad, leastShared] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (const disk of this.disks) {
      const load = this.load(disk);
      if (load > leastLoad || !allowed(disk)) continue;
      const shared = others.reduce((sum, { node }) => sum + this.#sharedBy(disk.node, node), 0);
      if (load === leastLoad && shared >= leastShared) continue;
      if (!this.mayTake(chain, leaving, disk)) continue;
      [best, leastLoad, leastShared] = [disk, load, shared];
    }
    return best;
  }

  /** A new member on that disk, in the place of one that leaves. */
  move(chain: message.Chain, leaving: message.Member, disk: Disk): message.ChainOrder {
    const [target] = this.unusedTargets(disk, 1);
    if (target === undefined) throw new RangeError(`disk ${keyOf(disk)} has no number left`);
    const join = message.Member.fromPartial({
      target,
      node: disk.node,
      disk: disk.disk,
      state: PUBLIC_OFFLINE,
    });
    this.#taken.add(target);
    this.#numbers.set(keyOf(disk), Math.max(this.#numbers.get(keyOf(disk)) ?? 0, Number(target % 1_000n)));
    this.#addLoad(leaving, -1);
    this.#addLoad(join, 1);
    for (const other of chain.members.filter((one) => stays(one) && one.target !== leaving.target)) {
      this.#addShared(leaving.node, other.node, -1);
      this.#addShared(join.node, other.node, 1);
    }
    const left = chain.members.flatMap((member) => {
      if (member.target !== leaving.target) return [member];
      return serves(member) ? [{ ...member, tenure: LEAVES }] : [];
    });
    const preferred = chain.preferred.flatMap((other) =>
      other === leaving.target ? [target, other] : [other],
    );
    this.#chains.set(chain.id, { ...chain, members: [...left, join], preferred });
    return { joins: [join], leaves: [leaving.target], stays: [], preferred: [], adopt: false };
  }

  /** As if the last move of the chain were done. */
  complete(id: number): void {
    const chain = this.#chains.get(id);
    if (chain === undefined) return;
    const members = chain.members.filter(stays).map((member) => ({ ...member, state: PUBLIC_SERVING }));
    this.#chains.set(id, { ...chain, members });
  }

  /** Numbers that were never used, then, when all were, the lowest that are free; fewer if there are no more. */
  unusedTargets(disk: { readonly node: number; readonly disk: number }, count: number): bigint[] {
    const targets: bigint[] = [];
    const highest = this.#numbers.get(keyOf(disk)) ?? 0;
    for (let step = 0; step < targetsPerDiskMax && targets.length < count; step++) {
      const target = targetId(disk.node, disk.disk, 1 + ((highest + step) % targetsPerDiskMax));
      if (!this.#taken.has(target)) targets.push(target);
    }
    return targets;
  }

  #sharedBy(one: number, other: number): number {
    if (this.#shared === undefined) {
      this.#shared = new Map();
      for (const chain of this.#chains.values()) {
        const nodes = chain.members.filter(stays).map((member) => member.node);
        for (const [index, node] of nodes.entries()) {
          for (const partner of nodes.slice(0, index)) this.#addShared(node, partner, 1);
        }
      }
    }
    return this.#shared.get(pairOf(one, other)) ?? 0;
  }

  #addShared(one: number, other: number, change: number): void {
    const pair = pairOf(one, other);
    this.#shared?.set(pair, (this.#shared.get(pair) ?? 0) + change);
  }

  #addLoad(at: { readonly node: number; readonly disk: number }, change: number): void {
    this.#load.set(keyOf(at), (this.#load.get(keyOf(at)) ?? 0) + change);
  }
}

function pairOf(one: number, other: number): string {
  return one < other ? `${one}-${other}` : `${other}-${one}`;
}

function keyOf(at: { readonly node: number; readonly disk: number }): string {
  return `${at.node}/${at.disk}`;
}
