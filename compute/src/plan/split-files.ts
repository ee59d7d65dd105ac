// Cuts lists of file slices into shares: by whole files, by row groups where files are too few, or by exact
// rows. Pure.

import type { FileSlice, Relation } from './relation.ts';
import { evenShare } from './resolve.ts';

/** Rows of each row group of a file. */
export type GroupsOf = (path: string) => readonly number[];

export function rowsOfSlices(slices: readonly FileSlice[]): number {
  return slices.reduce((sum, slice) => sum + slice.end - slice.begin, 0);
}

/** Contiguous shares of files; where there are fewer files than shares, files are cut between row groups. */
export function divideByFiles(
  slices: readonly FileSlice[],
  count: number,
  groupsOf: GroupsOf,
): FileSlice[][] {
  const pieces =
    slices.length >= count ? [...slices] : slices.flatMap((slice) => cutAtGroups(slice, groupsOf));
  return Array.from({ length: count }, (_, index) => {
    const { begin, end } = evenShare(pieces.length, index, count);
    return joinSlices(pieces.slice(begin, end));
  });
}

/** Shares of exactly even rows. */
export function divideByRows(slices: readonly FileSlice[], count: number): FileSlice[][] {
  const total = rowsOfSlices(slices);
  return Array.from({ length: count }, (_, index) => {
    const { begin, end } = evenShare(total, index, count);
    return cutRows(slices, begin, end);
  });
}

function cutRows(slices: readonly FileSlice[], begin: number, end: number): FileSlice[] {
  const cut: FileSlice[] = [];
  let before = 0;
  for (const slice of slices) {
    const rows = slice.end - slice.begin;
    const from = Math.max(begin - before, 0);
    const to = Math.min(end - before, rows);
    if (from < to) {
      const whole = slice.whole && from === 0 && to === rows;
      cut.push({ path: slice.path, begin: slice.begin + from, end: slice.begin + to, whole });
    }
    before += rows;
  }
  return cut;
}

function cutAtGroups(slice: FileSlice, groupsOf: GroupsOf): FileSlice[] {
  const pieces: FileSlice[] = [];
  const groups = groupsOf(slice.path);
  let begin = 0;
  for (const rows of groups) {
    const from = Math.max(begin, slice.begin);
    const to = Math.min(begin + rows, slice.end);
    const whole = slice.whole && groups.length === 1;
    if (from < to) pieces.push({ path: slice.path, begin: from, end: to, whole });
    begin += rows;
  }
  return pieces.length === 0 ? [slice] : pieces;
}

/** Neighbouring ranges of one file become one range. */
function joinSlices(slices: readonly FileSlice[]): FileSlice[] {
  const joined: FileSlice[] = [];
  for (const slice of slices) {
    const last = joined.at(-1);
    if (last !== undefined && last.path === slice.path && last.end === slice.begin && !slice.whole) {
      joined[joined.length - 1] = { ...last, end: slice.end };
    } else joined.push(slice);
  }
  return joined;
}

/** Files, perhaps with conditions on single rows: any share of the rows can be read apart. */
export function isSplittable(relation: Relation): boolean {
  return relation.kind === 'files' || (relation.kind === 'filter' && isSplittable(relation.input));
}

export function splitRelation(relation: Relation, count: number, groupsOf: GroupsOf): Relation[] {
  if (relation.kind === 'files') {
    return divideByFiles(relation.slices, count, groupsOf)
      .filter((slices) => slices.length > 0)
      .map((slices) => ({ ...relation, slices }));
  }
  if (relation.kind !== 'filter') return [relation];
  return splitRelation(relation.input, count, groupsOf).map((input) => ({ ...relation, input }));
}
