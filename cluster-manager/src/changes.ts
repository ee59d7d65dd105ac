// What an administrator orders: drain, replace, add, remove, grow, and the end of one of these. Each is checked here as
// a whole before anything is begun, and becomes a record of the manager's state; moves.ts turns the records into the
// next orders of the chains, growth.ts into new chains. Pure: state in, state and a sentence out.
import { FsError, message } from '@catena/core';
import {
  firstTable,
  type GrowthStep,
  growthFeatureLevel,
  growthStep,
  replicasOf,
  tableVersionsMax,
} from './growth.ts';
import { type Disk, isAt, type Layout, serves, stays } from './layout.ts';
import { nameOf } from './leases.ts';
import { candidates, type Orders, placeOf, underWay, undo } from './moves.ts';
import { targetsPerDiskMax } from './placement.ts';

const { ACTION_DRAIN, ACTION_REPLACE, ACTION_ADD, ACTION_REMOVE, ACTION_ABORT, ACTION_GROW, ACTION_ADOPT } =
  message.ChangeAction;
const { CHANGE_DRAIN, CHANGE_REPLACE, CHANGE_BALANCE, CHANGE_GROW } = message.ChangeKind;
const { NODE_STORAGE } = message.NodeKind;

/** More at once are not refused for what they cost, but because nobody could follow them. */
export const changesMax = 64;
/** Nodes of a chain table: the number of a target holds so many (placement.ts). */
const nodeMax = 1_000_000;

/** The part of the manager's state that changes work on. */
export interface ChangeState {
  readonly changes: readonly message.Change[];
  /** Nothing new is placed there. */
  readonly closed: readonly message.Place[];
  readonly nodes: readonly message.Node[];
  readonly tables: readonly message.ChainTable[];
  /** 0: a release that kept none made the cluster. */
  readonly targetsPerDisk: number;
}

export interface Outcome {
  readonly changes: readonly message.Change[];
  readonly closed: readonly message.Place[];
  readonly nodesAdded: readonly message.Node[];
  readonly nodesRemoved: readonly message.Node[];
  readonly orders: Orders;
  readonly targetsPerDisk: number;
  /** What everybody must speak from now on, at least (P27). */
  readonly featureLevel: number;
  /** The new change; none if nothing was to be done, or was done at once. */
  readonly change: message.Change | undefined;
  readonly detail: string;
}

/** `layoutOf`: the layout when so many places are closed. */
export interface ChangeParts {
  readonly state: ChangeState;
  readonly layoutOf: (closed: readonly message.Place[], nodes: readonly message.Node[]) => Layout;
  /** Chains of which targets know more than the state does. */
  readonly frozen: readonly number[];
  readonly nowMs: bigint;
  /** A live client that does not speak that level, for people; undefined if all do. */
  readonly clientBelow: (featureLevel: number) => string | undefined;
}

/** Refuses with one sentence, or says what is to be stored. */
export function decide(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  if (parts.frozen.length > 0 && request.action !== ACTION_ADOPT) {
    throw new FsError(
      'OUTDATED_STATE',
      `${parts.frozen.length} chains are frozen; nothing is changed before`,
    );
  }
  switch (request.action) {
    case ACTION_DRAIN:
      return drain(request, parts);
    case ACTION_REPLACE:
      return replace(request, parts);
    case ACTION_ADD:
      return add(request, parts);
    case ACTION_REMOVE:
      return remove(request, parts);
    case ACTION_ABORT:
      return abort(request, parts);
    case ACTION_GROW:
      return grow(request, parts);
    case ACTION_ADOPT:
      return adopt(parts);
  }
}

/** What targets know counts, although some that may know more are away: what only those had is lost. */
function adopt(parts: ChangeParts): Outcome {
  const order = { joins: [], leaves: [], stays: [], preferred: [], adopt: true };
  const orders = new Map(parts.frozen.map((chain) => [chain, order]));
  const detail =
    orders.size === 0 ? 'no chain is frozen' : `${orders.size} chains are what their targets know`;
  return outcome(parts, { orders, detail });
}

function drain(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const place = requirePlace(request.place, parts.state);
  const to = request.with === undefined ? undefined : requirePlace(request.with, parts.state);
  const running = sameOrder(CHANGE_DRAIN, place, to, parts);
  if (running !== undefined) return running;
  requireNoOther(place, parts.state);
  const closed = [...parts.state.closed.filter((other) => !covers(place, other)), place];
  const layout = parts.layoutOf(closed, parts.state.nodes);
  const chains = [...layout.chains].filter((chain) => chain.members.some((member) => isAt(place, member)));
  const change = changeOf(parts, {
    kind: CHANGE_DRAIN,
    place,
    with: to,
    chains: chains.map((chain) => chain.id),
  });
  requireRoom(change, layout);
  const replicas = chains.length;
  if (replicas === 0) {
    return outcome(parts, {
      closed,
      detail: `${nameOfPlace(place)} holds no replica; nothing new is placed there`,
    });
  }
  return outcome(parts, {
    closed,
    changes: [...parts.state.changes, change],
    change,
    detail: `${replicas} replicas move off ${nameOfPlace(place)}${to === undefined ? '' : ` to ${nameOfPlace(to)}`}`,
  });
}

/**
 * Of what is lost at the place, done when every copy there serves again: what a node that lives syncs by itself is
 * waited for. With another place named, everything moves there.
 */
function replace(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const place = requirePlace(request.place, parts.state);
  if (request.with !== undefined) return drain(request, parts);
  const running = sameOrder(CHANGE_REPLACE, place, undefined, parts);
  if (running !== undefined) return running;
  requireNoOther(place, parts.state);
  const layout = parts.layoutOf(parts.state.closed, parts.state.nodes);
  const missing = [...layout.chains].flatMap((chain) =>
    chain.members
      .filter((member) => isAt(place, member) && stays(member) && !serves(member))
      .map((member) => ({ chain, member })),
  );
  if (missing.length === 0) {
    return outcome(parts, { detail: `no replica on ${nameOfPlace(place)} is missing: all of them serve` });
  }
  const lost = missing.filter(({ member }) => member.state === message.PublicState.PUBLIC_OFFLINE);
  if (lost.length > 0 && !layout.disks.some((disk) => isAt(place, disk) && disk.isOpen)) {
    throw new FsError(
      'UNREACHABLE',
      `${nameOfPlace(place)} does not run, or is drained: start it with an empty disk, or name who takes its place`,
    );
  }
  const change = changeOf(parts, {
    kind: CHANGE_REPLACE,
    place,
    targets: lost.map(({ member }) => member.target),
    chains: missing.map(({ chain }) => chain.id),
  });
  const synced = missing.length - lost.length;
  return outcome(parts, {
    changes: [...parts.state.changes, change],
    change,
    detail:
      `${lost.length} lost replicas are made anew on ${nameOfPlace(place)}` +
      `${synced === 0 ? '' : `, ${synced} are being synced`}`,
  });
}

/** A new node may register from now on; a known place is open again. Either gets its share of the replicas. */
function add(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const { state } = parts;
  const place = request.place ?? { node: 0, disk: undefined };
  const { node: id } = place;
  const other = state.nodes.find((node) => node.id === id);
  if (id < 1 || id > nodeMax || (other !== undefined && other.kind !== NODE_STORAGE)) {
    const taken =
      other === undefined
        ? `numbers are 1 to ${nodeMax}`
        : `${nameOf({ kind: other.kind, node: id })} has it`;
    throw new FsError('INVALID_ARGUMENT', `no storage node can have the number ${id}: ${taken}`);
  }
  if (other !== undefined) requirePlace(place, state);
  else if (place.disk !== undefined) throw unknownNode(id, state);
  const running = sameOrder(CHANGE_BALANCE, place, undefined, parts);
  if (running !== undefined) return running;
  requireNoOther(place, state);
  const added = message.Node.fromPartial({ id, kind: NODE_STORAGE, domain: request.domain });
  const nodesAdded = other === undefined ? [added] : [];
  const change = changeOf(parts, { kind: CHANGE_BALANCE, place });
  return outcome(parts, {
    closed: state.closed.filter((closed) => !covers(place, closed) && !covers(closed, place)),
    changes: [...state.changes, change],
    nodesAdded,
    change,
    detail: `${nameOfPlace(place)} ${other === undefined ? 'may register' : 'is open'}; its share of the replicas moves there`,
  });
}

function remove(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const { state } = parts;
  const place = requirePlace(request.place, state);
  if (place.disk !== undefined) {
    throw new FsError(
      'INVALID_ARGUMENT',
      'a disk is drained; take it out of the node configuration when it is empty',
    );
  }
  requireNoOther(place, state);
  const layout = parts.layoutOf(state.closed, state.nodes);
  const left = [...layout.chains]
    .flatMap((chain) => chain.members)
    .filter((member) => isAt(place, member)).length;
  if (left > 0) {
    throw new FsError(
      'BUSY',
      `${nameOfPlace(place)} holds ${left} replicas; first: catena drain ${place.node}`,
    );
  }
  return outcome(parts, {
    closed: state.closed.filter((closed) => closed.node !== place.node),
    nodesRemoved: state.nodes.filter((node) => node.kind === NODE_STORAGE && node.id === place.node),
    detail: `${nameOfPlace(place)} is forgotten`,
  });
}

/** Of the change of a place; without one, of the growth. */
function abort(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const { state } = parts;
  if (request.place === undefined) return abortGrowth(parts);
  const place = requirePlace(request.place, state);
  const change = state.changes.find((other) => isSame(placeOf(other), place));
  if (change === undefined) {
    const running = movesOf(state.changes)
      .map((other) => nameOfPlace(placeOf(other)))
      .join(', ');
    throw new FsError(
      'NOT_FOUND',
      `no change of ${nameOfPlace(place)} runs; ${running === '' ? 'none runs' : `there is one of ${running}`}`,
    );
  }
  const layout = parts.layoutOf(state.closed, state.nodes);
  const orders = undo(change, layout);
  return outcome(parts, {
    closed: state.closed.filter((closed) => !isSame(closed, place)),
    changes: state.changes.filter((other) => other !== change),
    orders,
    detail: `the ${nameOfKind(change.kind)} of ${nameOfPlace(place)} ends; ${orders.size} moves are taken back`,
  });
}

/** Given again while it runs it is the same growth. */
function grow(request: message.ChangeRequest, parts: ChangeParts): Outcome {
  const { state } = parts;
  const running = state.changes.find((change) => change.kind === CHANGE_GROW);
  if (running !== undefined) return outcome(parts, { change: running, detail: 'a growth runs already' });
  requireMayGrow(state, parts);
  const targetsPerDisk = state.targetsPerDisk > 0 ? state.targetsPerDisk : request.targetsPerDisk;
  if (targetsPerDisk < 1 || targetsPerDisk > targetsPerDiskMax) {
    throw new FsError(
      'INVALID_ARGUMENT',
      `an older release made this cluster and kept no number of targets per disk: name it, 1 to ${targetsPerDiskMax}`,
    );
  }
  const layout = parts.layoutOf(state.closed, state.nodes);
  const step = stepOf(parts, targetsPerDisk);
  const chains = [...layout.chains].length;
  if (step.isDone && step.table === undefined) {
    const disks = layout.disks.filter((disk) => !disk.isClosed).length;
    return outcome(parts, {
      targetsPerDisk,
      detail:
        `nothing to grow: ${disks} disks with ${targetsPerDisk} targets each carry no more than the ${chains} ` +
        `chains of ${replicasOf(layout)} that there are`,
    });
  }
  const change = changeOf(parts, { kind: CHANGE_GROW });
  const more = step.chains.length > 0 ? `${step.missing} new chains beside ${chains}` : 'new chains';
  const when = step.waitsFor === undefined ? '' : `, which waits for ${step.waitsFor}`;
  return outcome(parts, {
    changes: [...state.changes, change],
    change,
    targetsPerDisk,
    featureLevel: growthFeatureLevel,
    detail: `the chain table grows by ${more}${when}`,
  });
}

/** As long as it waits: chains that are made are in the table within seconds. */
function abortGrowth(parts: ChangeParts): Outcome {
  const { state } = parts;
  const growth = state.changes.find((change) => change.kind === CHANGE_GROW);
  if (growth === undefined) throw new FsError('NOT_FOUND', 'no growth runs');
  const step = stepOf(parts, state.targetsPerDisk);
  if (step.unlisted > 0) {
    throw new FsError(
      'BUSY',
      `${step.unlisted} chains are made: they are in the table when all of them serve`,
    );
  }
  return outcome(parts, {
    changes: state.changes.filter((change) => change !== growth),
    detail: 'the growth ends; nothing was made',
  });
}

/** What it would store next. */
function stepOf({ state, layoutOf }: ChangeParts, targetsPerDisk: number): GrowthStep {
  const { changes, closed, nodes, tables } = state;
  const layout = layoutOf(closed, nodes);
  return growthStep({ others: movesOf(changes).length, nodes, closed, tables, targetsPerDisk, layout });
}

function requireMayGrow(state: ChangeState, parts: ChangeParts): void {
  if (state.changes.length >= changesMax)
    throw new FsError('OVERLOADED', `${changesMax} changes run already`);
  const { version, id } = firstTable(state.tables);
  if (version >= tableVersionsMax) {
    throw new FsError(
      'NOT_SUPPORTED',
      `chain table ${id} has ${version} versions, more it cannot have: nodes that are added share the chains that there are`,
    );
  }
  const older = parts.clientBelow(growthFeatureLevel);
  if (older !== undefined) {
    throw new FsError(
      'BUSY',
      `a chain table that grows would be misread by an older release: end or update first: ${older}`,
    );
  }
}

/** Those that move replicas. */
export function movesOf(changes: readonly message.Change[]): message.Change[] {
  return changes.filter((change) => change.kind !== CHANGE_GROW);
}

/** Everything to be moved has a place to go to, one after another. */
function requireRoom(change: message.Change, layout: Layout): void {
  for (const { chain, member } of [...underWay(change, layout), ...candidates(change, layout)]) {
    if (!stays(member)) continue;
    const allowed = (disk: Disk): boolean => change.with === undefined || isAt(change.with, disk);
    const disk = layout.bestDisk(chain, member, allowed);
    if (disk === undefined) throw noRoom(change, chain, layout);
    layout.move(chain, member, disk);
    layout.complete(chain.id);
  }
}

function noRoom(change: message.Change, chain: message.Chain, layout: Layout): FsError {
  const place = placeOf(change);
  if (change.with !== undefined) {
    return new FsError(
      'INVALID_ARGUMENT',
      `${nameOfPlace(change.with)} cannot take the replica of chain ${chain.id} from ${nameOfPlace(place)}: ` +
        'it is not open, or holds one in its failure domain',
    );
  }
  const domains = new Set(layout.disks.filter((disk) => disk.isOpen).map((disk) => disk.domain)).size;
  return new FsError(
    'INVALID_ARGUMENT',
    `not enough domains left: without ${nameOfPlace(place)} there are ${domains} open failure domains, and no open ` +
      `disk may take its replica of chain ${chain.id} beside the other ${chain.members.filter(stays).length - 1}; ` +
      'add a node first: catena add',
  );
}

function requirePlace(place: message.Place | undefined, state: ChangeState): message.Place {
  if (place === undefined) throw new FsError('INVALID_ARGUMENT', 'no node is named');
  const node = state.nodes.find((other) => other.kind === NODE_STORAGE && other.id === place.node);
  if (node === undefined) throw unknownNode(place.node, state);
  if (place.disk !== undefined && node.disks > 0 && place.disk >= node.disks) {
    throw new FsError('NOT_FOUND', `storage node ${place.node} has ${node.disks} disks, numbered from 0`);
  }
  return place;
}

function unknownNode(id: number, state: ChangeState): FsError {
  const known = state.nodes.filter((node) => node.kind === NODE_STORAGE).map((node) => node.id);
  return new FsError('NOT_FOUND', `there is no storage node ${id}; there are ${known.join(', ')}`);
}

/** Given again while it runs it is the same change: whoever gave it may not have heard the answer. */
function sameOrder(
  kind: message.ChangeKind,
  place: message.Place,
  to: message.Place | undefined,
  parts: ChangeParts,
): Outcome | undefined {
  const isAsked = (change: message.Change): boolean =>
    change.kind === kind &&
    isSame(placeOf(change), place) &&
    (to === undefined ? change.with === undefined : change.with !== undefined && isSame(change.with, to));
  const change = parts.state.changes.find(isAsked);
  if (change === undefined) return undefined;
  return outcome(parts, { change, detail: `the ${nameOfKind(kind)} of ${nameOfPlace(place)} runs already` });
}

function requireNoOther(place: message.Place, state: ChangeState): void {
  if (state.changes.length >= changesMax)
    throw new FsError('OVERLOADED', `${changesMax} changes run already`);
  const other = state.changes.find(
    (change) => covers(placeOf(change), place) || covers(place, placeOf(change)),
  );
  if (other === undefined) return;
  throw new FsError(
    'ALREADY_RUNNING',
    `a ${nameOfKind(other.kind)} of ${nameOfPlace(placeOf(other))} already runs; catena drain --abort ends it`,
  );
}

function changeOf(parts: ChangeParts, fields: Partial<message.Change>): message.Change {
  const id = 1 + Math.max(0, ...parts.state.changes.map((change) => change.id));
  return message.Change.fromPartial({ ...fields, id, startedMs: parts.nowMs });
}

function outcome(parts: ChangeParts, fields: Partial<Outcome> & { readonly detail: string }): Outcome {
  const { changes, closed, targetsPerDisk } = parts.state;
  const nothing = { nodesAdded: [], nodesRemoved: [], orders: new Map(), change: undefined, featureLevel: 0 };
  return { ...nothing, changes, closed, targetsPerDisk, ...fields };
}

/** The first names the second, or the node that it is a disk of. */
function covers(place: message.Place, other: message.Place): boolean {
  return place.node === other.node && (place.disk === undefined || place.disk === other.disk);
}

function isSame(place: message.Place, other: message.Place): boolean {
  return place.node === other.node && place.disk === other.disk;
}

export function nameOfPlace(place: message.Place): string {
  return place.disk === undefined ? `node ${place.node}` : `disk ${place.disk} of node ${place.node}`;
}

export function nameOfKind(kind: message.ChangeKind): 'drain' | 'replacement' | 'balancing' | 'growth' {
  if (kind === CHANGE_GROW) return 'growth';
  if (kind === CHANGE_DRAIN) return 'drain';
  return kind === CHANGE_REPLACE ? 'replacement' : 'balancing';
}

/** Replicas that still have to move, and that are moving. */
export function progress(change: message.Change, layout: Layout): { left: number; moving: number } {
  const moving = underWay(change, layout).length;
  const unsettled = [...layout.chains].filter(
    (chain) =>
      change.chains.includes(chain.id) &&
      !chain.members.some((member) => !stays(member)) &&
      !chain.members.every(serves),
  ).length;
  return { left: candidates(change, layout).length + moving + unsettled, moving: moving + unsettled };
}
