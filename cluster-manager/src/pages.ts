// What the status page and scripts read: nodes, chains, targets, clients as JSON, from the manager's current
// view.
import { readFileSync } from 'node:fs';
import { fromSystemError, message, type StaticFile } from '@catena/core';
import { nameOfKind, progress } from './changes.ts';
import { isClosed } from './disks.ts';
import { missingChains } from './growth.ts';
import { type Layout, serves, stays } from './layout.ts';
import { nameOf } from './leases.ts';
import type { Manager } from './manager.ts';
import { placeOf, waitsFor } from './moves.ts';

const publicStates = ['offline', 'waiting', 'syncing', 'lastsrv', 'serving'] as const;
const tenures = ['stays', 'leaves', 'stops'] as const;
const localStates = ['offline', 'online', 'uptodate'] as const;

/** `manager` throws where another one decides. */
export function jsonPages(manager: () => Manager): Readonly<Record<string, () => unknown>> {
  return {
    '/api/cluster.json': () => clusterPage(manager()),
    '/api/nodes.json': () => nodesPage(manager()),
    '/api/chains.json': () => chainsPage(manager()),
    '/api/tables.json': () => tablesPage(manager()),
    '/api/targets.json': () => targetsPage(manager()),
    '/api/clients.json': () => manager().clients(),
    '/api/changes.json': () => changesPage(manager()),
  };
}

function clusterPage(manager: Manager): unknown {
  const chains = manager.routing.chains;
  const serving = chains.filter((chain) => chain.members.some((m) => publicStates[m.state] === 'serving'));
  const whole = chains.filter((chain) => chain.members.every((m) => publicStates[m.state] === 'serving'));
  return {
    cluster: manager.cluster,
    featureLevel: manager.featureLevel,
    routingVersion: manager.routing.version,
    chains: chains.length,
    chainsServing: serving.length,
    chainsWhole: whole.length,
    clients: manager.clients().length,
    changes: manager.changeState.changes.length,
  };
}

function nodesPage(manager: Manager): unknown {
  return manager.nodes().map((node) => ({
    name: nameOf({ kind: node.kind, node: node.id }),
    id: node.id,
    kind: ['storage', 'meta', 'client'][node.kind],
    address: node.address,
    alive: node.alive,
    suspected: node.view.suspected,
    incarnation: node.incarnation,
    pid: node.pid,
    leaseLeftMs: Math.round(node.view.leaseLeftMs),
    heardAgoMs: node.view.heardAgoMs === undefined ? null : Math.round(node.view.heardAgoMs),
    domain: node.domain,
    disks: node.disks,
    closed: closedDisks(manager, node),
    ...spaceOf(manager, node),
  }));
}

/** Disks that take nothing new. */
function closedDisks(manager: Manager, node: message.Node): number[] {
  const disks = Array.from({ length: node.disks }, (_, disk) => disk);
  return disks.filter((disk) => isClosed(manager.changeState.closed, { node: node.id, disk }));
}

/** What the administrator ordered and is not done, with how far it is. */
function changesPage(manager: Manager): unknown {
  const { changes } = manager.changeState;
  if (changes.length === 0) return [];
  const layout = manager.layout();
  return changes.map((change) => ({
    id: change.id,
    kind: nameOfKind(change.kind),
    node: placeOf(change).node,
    disk: placeOf(change).disk ?? null,
    with: change.with ?? null,
    startedMs: change.startedMs,
    ...(change.kind === message.ChangeKind.CHANGE_GROW
      ? growthProgress(manager)
      : moveProgress(change, layout)),
  }));
}

interface Progress {
  /** Replicas, or chains of a growth: those that are not done, and those of them that are under way. */
  readonly left: number;
  readonly moving: number;
  readonly waitsFor: string | null;
}

function moveProgress(change: message.Change, layout: Layout): Progress {
  return { ...progress(change, layout), waitsFor: waitsFor(change, layout) ?? null };
}

function growthProgress(manager: Manager): Progress {
  const { missing, unlisted, waitsFor: obstacle } = manager.growthStep();
  return { left: missing + unlisted, moving: unlisted, waitsFor: obstacle ?? null };
}

/** How much of what the fullest serving member holds a member has, in percent; null unless it is being synced. */
function syncedPercent(manager: Manager, chain: message.Chain, member: message.Member): number | null {
  if (publicStates[member.state] !== 'syncing') return null;
  const used = chain.members.filter(serves).map((other) => Number(manager.report(other)?.usedBytes ?? 0n));
  const most = Math.max(1, ...used);
  return Math.min(100, Math.floor((100 * Number(manager.report(member)?.usedBytes ?? 0n)) / most));
}

/** Every target reports its own bytes and the capacity of its disk; targets of one disk share it. */
function spaceOf(
  manager: Manager,
  node: message.Node,
): { targets: number; capacityBytes: bigint; usedBytes: bigint } {
  const disks = new Map<number, bigint>();
  let usedBytes = 0n;
  let targets = 0;
  if (node.kind === message.NodeKind.NODE_STORAGE) {
    for (const member of manager.routing.chains.flatMap((chain) => chain.members)) {
      if (member.node !== node.id) continue;
      targets++;
      const report = manager.report(member);
      if (report === undefined) continue;
      usedBytes += report.usedBytes;
      if (report.capacityBytes > (disks.get(member.disk) ?? 0n)) disks.set(member.disk, report.capacityBytes);
    }
  }
  return { targets, capacityBytes: [...disks.values()].reduce((sum, bytes) => sum + bytes, 0n), usedBytes };
}

/** Every version of a table is the first so many chains of the newest one. */
function tablesPage(manager: Manager): unknown {
  const { tables, targetsPerDisk } = manager.changeState;
  // Of a cluster that an older release made, nobody knows how many there should be.
  const missing = targetsPerDisk === 0 ? null : missingChains(manager.layout(), targetsPerDisk);
  return tables.map((table) => ({
    id: table.id,
    version: table.version,
    chains: table.chains,
    lengths: [...table.lengths, table.chains.length],
    missing,
  }));
}

function chainsPage(manager: Manager): unknown {
  const since = new Map<number, number>();
  for (const { chains, lengths } of manager.routing.tables) {
    let before = 0;
    for (const [earlier, length] of [...lengths, chains.length].entries()) {
      for (const id of chains.slice(before, length)) since.set(id, earlier + 1);
      before = length;
    }
  }
  return manager.routing.chains.map((chain) => ({
    id: chain.id,
    /** Of its table; null while it is being made. */
    sinceTableVersion: since.get(chain.id) ?? null,
    version: chain.version,
    durabilityEpoch: chain.durabilityEpoch,
    members: chain.members.map((member) => ({
      target: member.target,
      node: member.node,
      disk: member.disk,
      state: publicStates[member.state],
      ...(stays(member) ? {} : { tenure: tenures[member.tenure] }),
      syncedPercent: syncedPercent(manager, chain, member),
      /** Of room on its disk: it stays out of its chain until that is there. 0: none. */
      missingBytes: manager.report(member)?.missingBytes ?? 0n,
    })),
    last: chain.last,
    preferred: chain.preferred,
    /** Why it does not change, and nobody gets a lease for it: `waiting` for a member, or `frozen`. */
    held: heldName(manager, chain.id),
    heldReason: manager.heldOf(chain.id)?.reason ?? null,
    reordering: chain.reordering,
    orderGivenUp: chain.orderGivenUp,
  }));
}

function heldName(manager: Manager, chain: number): 'waiting' | 'frozen' | null {
  const held = manager.heldOf(chain);
  if (held === undefined) return null;
  return held.hold === message.ChainHold.HOLD_FROZEN ? 'frozen' : 'waiting';
}

function targetsPage(manager: Manager): unknown {
  return manager.routing.chains.flatMap((chain) =>
    chain.members.map((member) => {
      const report = manager.report(member);
      return {
        target: member.target,
        node: member.node,
        disk: member.disk,
        chain: chain.id,
        state: publicStates[member.state],
        tenure: tenures[member.tenure],
        incarnation: member.incarnation,
        localState: report === undefined ? null : localStates[report.state],
        chainVersion: report?.chainVersion ?? null,
        complete: report?.complete ?? null,
        fresh: report?.fresh ?? null,
        diskError: report?.diskError ?? null,
        missingBytes: report?.missingBytes ?? null,
        capacityBytes: report?.capacityBytes ?? null,
        usedBytes: report?.usedBytes ?? null,
      };
    }),
  );
}

/** The three files of the status page, read once. */
export function statusPage(): Readonly<Record<string, StaticFile>> {
  const read = (name: string, type: string): StaticFile => {
    const url = new URL(`../dashboard/${name}`, import.meta.url);
    try {
      return { type, body: readFileSync(url, 'utf8') };
    } catch (error) {
      throw fromSystemError(error, `reading ${url.pathname}`);
    }
  };
  return {
    '/': read('index.html', 'text/html; charset=utf-8'),
    '/dashboard.js': read('dashboard.js', 'text/javascript; charset=utf-8'),
    '/dashboard.css': read('dashboard.css', 'text/css; charset=utf-8'),
  };
}
