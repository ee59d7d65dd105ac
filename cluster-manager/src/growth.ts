// How a cluster that has more nodes or disks gets more chains. Pure: from the state as it is to the next thing to be
// stored. First new chains, which are in no table; when all of them serve, the next version of the table with them at
// its end. So nothing is remembered between two steps, and a new manager goes on where the old one was. A table only
// ever gains chains: the version and the length that the layout of a file was made with find its chunks for ever.
import { FsError, message } from '@catena/core';
import { isSettled, type Layout, serves, stays } from './layout.ts';
import { chainsOf, placeAdditions, type StorageNodeShape } from './placement.ts';

const { NODE_STORAGE } = message.NodeKind;

/** Whoever speaks less takes a table that grew for one that was always so (P27). */
export const growthFeatureLevel = 2;

/**
 * Versions of a table: twenty years of a growth every week. Each costs two or three bytes of the table, and its chains
 * are in the table once, whatever the number of versions.
 */
export const tableVersionsMax = 1_024;

/**
 * New chains of one step. The manager does nothing else meanwhile, and its role ends when its loop stands still for a
 * second (P3): beside 10,000 chains on 1,000 nodes a step takes some 200 ms of CPU.
 */
export const chainsPerStepMax = 200;

export interface GrowthParts {
  /** Changes under way, but for the growth itself. */
  readonly others: number;
  readonly nodes: readonly message.Node[];
  /** Nothing new is placed there. */
  readonly closed: readonly message.Place[];
  readonly tables: readonly message.ChainTable[];
  readonly targetsPerDisk: number;
  readonly layout: Layout;
}

export interface GrowthStep {
  /** New ones, to be stored now. */
  readonly chains: readonly message.Chain[];
  /** To be stored now: it has gained chains that all serve. */
  readonly table: message.ChainTable | undefined;
  readonly isDone: boolean;
  /** Chains that are to be made still, and that are made and in no table. */
  readonly missing: number;
  readonly unlisted: number;
  /** Why nothing is to be stored for now, for people. */
  readonly waitsFor: string | undefined;
}

/** The next one: chains that are made are listed whatever else changes; others are made when nothing else does. */
export function growthStep(parts: GrowthParts): GrowthStep {
  const { layout, tables, targetsPerDisk } = parts;
  const missing = missingChains(layout, targetsPerDisk);
  const made = unlisted([...layout.chains], tables);
  const here = {
    chains: [],
    table: undefined,
    isDone: false,
    missing,
    unlisted: made.length,
    waitsFor: undefined,
  };
  const obstacle = obstacleOf(parts);
  if (obstacle === undefined) {
    const chains = additions(layout, targetsPerDisk, Math.min(missing, chainsPerStepMax));
    if (chains.length > 0) return { ...here, chains };
  }
  if (made.length === 0) return { ...here, isDone: obstacle === undefined, waitsFor: obstacle };
  const silent = made.find((chain) => !chain.members.some(serves));
  if (silent !== undefined) return { ...here, waitsFor: `chain ${silent.id} to serve` };
  return { ...here, table: grown(firstTable(tables), made), isDone: true };
}

/** Replicas move to where they belong first, so that new chains fill what is left; and every node and disk has a say. */
function obstacleOf({ others, nodes, closed, tables, layout }: GrowthParts): string | undefined {
  if (others > 0) return others === 1 ? 'another change to end' : `${others} other changes to end`;
  const away = nodes.find(
    ({ id, kind, alive, disks }) => kind === NODE_STORAGE && !alive && !isWholeClosed(closed, id, disks),
  );
  if (away !== undefined) return `node ${away.id} to run; if it is gone for good: catena drain ${away.id}`;
  const listed = new Set(tables.flatMap((table) => table.chains));
  const broken = [...layout.chains].find((chain) => listed.has(chain.id) && !isSettled(chain));
  return broken === undefined ? undefined : `chain ${broken.id} to be whole`;
}

function isWholeClosed(closed: readonly message.Place[], node: number, disks: number): boolean {
  const own = closed.filter((place) => place.node === node);
  return own.some((place) => place.disk === undefined) || (disks > 0 && own.length >= disks);
}

/** Copies of a chunk: all chains have as many. */
export function replicasOf(layout: Layout): number {
  const [first] = layout.chains;
  return first?.members.filter(stays).length ?? 0;
}

/** By how many chains the cluster has fewer than one that was made with its nodes and disks of today. */
export function missingChains(layout: Layout, targetsPerDisk: number): number {
  const replicas = replicasOf(layout);
  if (replicas === 0) return 0;
  const shapes = new Map<number, StorageNodeShape>();
  for (const { node, domain, isClosed } of layout.disks) {
    if (!isClosed) shapes.set(node, { node, domain, disks: (shapes.get(node)?.disks ?? 0) + 1 });
  }
  const wanted = chainsOf({ nodes: [...shapes.values()], targetsPerDisk, replicas });
  return Math.max(0, wanted - [...layout.chains].length);
}

/** New chains on what is free: each disk gets as many targets as there should be, and not more. */
function additions(layout: Layout, targetsPerDisk: number, most: number): message.Chain[] {
  if (most === 0) return [];
  const disks = layout.disks
    .filter((disk) => disk.isOpen)
    .map((disk) => ({
      ...disk,
      targets: layout.unusedTargets(disk, Math.max(0, targetsPerDisk - layout.load(disk))),
    }));
  return placeAdditions({ chains: [...layout.chains], disks, replicas: replicasOf(layout), most });
}

/** Chains that no table has: no file is there. */
function unlisted(chains: readonly message.Chain[], tables: readonly message.ChainTable[]): message.Chain[] {
  const listed = new Set(tables.flatMap((table) => table.chains));
  return chains.filter((chain) => !listed.has(chain.id));
}

/** The one that new files use. */
export function firstTable(tables: readonly message.ChainTable[]): message.ChainTable {
  const [first] = [...tables].sort((a, b) => a.id - b.id);
  if (first === undefined) throw new FsError('CORRUPT', 'the state of the manager has no chain table');
  return first;
}

function grown(table: message.ChainTable, more: readonly message.Chain[]): message.ChainTable {
  return {
    id: table.id,
    version: table.version + 1,
    chains: [...table.chains, ...more.map((chain) => chain.id)],
    lengths: [...table.lengths, table.chains.length],
  };
}

/** Every version of `before` is a version of `after`, with the same chains. */
export function isGrownFrom(after: message.ChainTable, before: message.ChainTable): boolean {
  const lengths = [...before.lengths, before.chains.length];
  return (
    after.version === before.version + 1 &&
    after.lengths.length === lengths.length &&
    lengths.every((length, version) => after.lengths[version] === length) &&
    before.chains.every((chain, place) => after.chains[place] === chain)
  );
}
