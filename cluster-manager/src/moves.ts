// What the administrator's changes want next, chain by chain: pure, from the layout as it is. A chain carries what is
// under way itself (members that leave and members that were added), so nothing here is remembered between two calls,
// and a new manager goes on where the old one was.
import { message } from '@catena/core';
import { type Disk, isAt, isSettled, type Layout, serves, stays } from './layout.ts';

const { CHANGE_DRAIN, CHANGE_REPLACE, CHANGE_BALANCE } = message.ChangeKind;

/**
 * Moves that a node takes part in at once, as the one that gives or the one that gets: each copies a whole target, so
 * more would only share the same disk and network, and make every one of them last longer.
 */
export const movesPerNodeMax = 4;

export type Orders = ReadonlyMap<number, message.ChainOrder>;

export interface Plan {
  readonly orders: Orders;
  /** Those that are done. */
  readonly done: readonly message.Change[];
}

export function plan(changes: readonly message.Change[], layout: Layout): Plan {
  const orders = new Map<number, message.ChainOrder>();
  const busy = busyNodes(layout);
  for (const change of changes) {
    const next =
      change.kind === CHANGE_BALANCE ? surplus(change, layout, mayBegin) : candidates(change, layout);
    for (const { chain, member } of next) {
      if (orders.has(chain.id) || !mayBegin(chain, member)) continue;
      // A lost replica does not wait for others to move.
      const mayTakePart = (node: number): boolean =>
        !serves(member) || (busy.get(node) ?? 0) < movesPerNodeMax;
      if (!mayTakePart(member.node)) continue;
      const isMeant = (disk: Disk): boolean => isWanted(change, member, disk) && mayTakePart(disk.node);
      const disk = layout.bestDisk(chain, member, isMeant);
      if (disk === undefined) continue;
      for (const node of new Set([member.node, disk.node])) busy.set(node, (busy.get(node) ?? 0) + 1);
      orders.set(chain.id, layout.move(chain, member, disk));
    }
  }
  const done = changes.filter((change) => isDone(change, layout));
  return { orders, done };
}

export interface Candidate {
  readonly chain: message.Chain;
  readonly member: message.Member;
}

/** Members that the change wants elsewhere and that are not told yet. */
export function candidates(change: message.Change, layout: Layout): Candidate[] {
  if (change.kind === CHANGE_BALANCE) return surplus(change, layout, () => true);
  const isMeant = (member: message.Member): boolean =>
    stays(member) &&
    (change.kind === CHANGE_DRAIN ? isAt(placeOf(change), member) : change.targets.includes(member.target));
  return [...layout.chains].flatMap((chain) =>
    chain.members.filter(isMeant).map((member) => ({ chain, member })),
  );
}

/** Moves that are under way for this change: a member leaves, another was added for it. */
export function underWay(change: message.Change, layout: Layout): Candidate[] {
  return [...layout.chains].flatMap((chain) =>
    chain.members
      .filter((member) => !stays(member) && belongsTo(change, chain, member))
      .map((member) => ({ chain, member })),
  );
}

function belongsTo(change: message.Change, chain: message.Chain, leaving: message.Member): boolean {
  if (change.kind === CHANGE_DRAIN) return isAt(placeOf(change), leaving);
  if (change.kind === CHANGE_REPLACE) return change.targets.includes(leaving.target);
  const joined = joinedFor(chain, leaving);
  return joined !== undefined && isAt(placeOf(change), joined);
}

/** Whoever joined for the one that leaves stands right before it in the preferred order (next_chain). */
export function joinedFor(chain: message.Chain, leaving: message.Member): message.Member | undefined {
  const place = chain.preferred.indexOf(leaving.target);
  const target = place > 0 ? chain.preferred[place - 1] : undefined;
  return chain.members.find((member) => member.target === target && stays(member));
}

/** Takes back what is under way: the old member stays, the new one goes. What was done is done. */
export function undo(change: message.Change, layout: Layout): Orders {
  const orders = new Map<number, message.ChainOrder>();
  for (const { chain, member } of underWay(change, layout)) {
    const joined = joinedFor(chain, member);
    if (joined === undefined || !serves(member)) continue;
    orders.set(chain.id, {
      joins: [],
      leaves: [joined.target],
      stays: [member.target],
      preferred: [],
      adopt: false,
    });
  }
  return orders;
}

/** Why nothing moves for now, for people; undefined if something does or nothing is left. */
export function waitsFor(change: message.Change, layout: Layout): string | undefined {
  const place = placeOf(change);
  if (change.kind === CHANGE_BALANCE && !layout.disks.some((disk) => isAt(place, disk) && disk.isOpen)) {
    return `node ${place.node} to start`;
  }
  for (const { chain, member } of [...underWay(change, layout), ...candidates(change, layout)]) {
    const away = chain.members.find(
      (other) => other.target !== member.target && stays(other) && !serves(other),
    );
    const joined = joinedFor(chain, member);
    if (away !== undefined && away.target !== joined?.target) {
      return `target ${away.target} on node ${away.node}, which chain ${chain.id} needs first`;
    }
  }
  for (const { chain, member } of candidates(change, layout)) {
    if (layout.bestDisk(chain, member, (disk) => isWanted(change, member, disk)) === undefined) {
      return `a disk that may hold a replica of chain ${chain.id}`;
    }
  }
  return undefined;
}

export function placeOf(change: { place: message.Place | undefined }): message.Place {
  return change.place ?? { node: 0, disk: undefined };
}

/** One that serves goes only from a chain that is whole: it would have to wait otherwise. One that is lost at once. */
function mayBegin(chain: message.Chain, member: message.Member): boolean {
  const others = chain.members.filter((other) => other.target !== member.target);
  return serves(member) ? others.every((other) => serves(other) && stays(other)) : others.some(serves);
}

function isWanted(change: message.Change, member: message.Member, disk: Disk): boolean {
  if (change.kind === CHANGE_BALANCE) return isAt(placeOf(change), disk);
  if (change.with !== undefined) return isAt(change.with, disk);
  return change.kind === CHANGE_DRAIN || (disk.node === member.node && disk.disk === member.disk);
}

function isDone(change: message.Change, layout: Layout): boolean {
  const place = placeOf(change);
  if (change.kind !== CHANGE_BALANCE) {
    const isMeant = (member: message.Member): boolean =>
      change.kind === CHANGE_DRAIN ? isAt(place, member) : change.targets.includes(member.target);
    return [...layout.chains].every(
      (chain) => !chain.members.some(isMeant) && (!change.chains.includes(chain.id) || isSettled(chain)),
    );
  }
  const isOpen = layout.disks.some((disk) => isAt(place, disk) && disk.isOpen);
  return isOpen && candidates(change, layout).length === 0 && underWay(change, layout).length === 0;
}

/** By how much a disk must hold more than the new one: a move that only turns that around is none. */
const differenceMin = 2;

/** One replica of the fullest disk that may go to the emptiest one of the place; none when they are even. */
function surplus(change: message.Change, layout: Layout, isReady: typeof mayBegin): Candidate[] {
  const place = placeOf(change);
  const open = layout.disks.filter((disk) => disk.isOpen);
  const [emptiest] = open.filter((disk) => isAt(place, disk)).sort((a, b) => layout.load(a) - layout.load(b));
  if (emptiest === undefined) return [];
  const donors = open
    .filter((disk) => !isAt(place, disk) && layout.load(disk) - layout.load(emptiest) >= differenceMin)
    .sort((a, b) => layout.load(b) - layout.load(a));
  for (const donor of donors) {
    for (const chain of layout.chains) {
      const member = chain.members.find(
        (one) => stays(one) && isAt({ node: donor.node, disk: donor.disk }, one),
      );
      if (member === undefined || !serves(member) || !isReady(chain, member)) continue;
      if (layout.mayTake(chain, member, emptiest)) return [{ chain, member }];
    }
  }
  return [];
}

/** How many moves each node takes part in. */
function busyNodes(layout: Layout): Map<number, number> {
  const busy = new Map<number, number>();
  for (const chain of layout.chains) {
    const leaving = chain.members.filter((member) => !stays(member));
    const joined = leaving.flatMap((member) => joinedFor(chain, member) ?? []);
    for (const { node } of [...leaving, ...joined]) busy.set(node, (busy.get(node) ?? 0) + 1);
  }
  return busy;
}
