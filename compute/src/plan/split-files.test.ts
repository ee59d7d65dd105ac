import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FileSlice } from './relation.ts';
import { resolveRelation } from './resolve.ts';
import { divideByFiles, divideByRows } from './split-files.ts';
import type { TaskResult } from './task.ts';

/** Files as lists of the rows of their row groups. */
const files = fc.array(fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 6 }), {
  minLength: 1,
  maxLength: 12,
});
const total = (groups: readonly number[]): number => groups.reduce((sum, rows) => sum + rows, 0);
const wholeSlices = (groups: readonly number[][]): FileSlice[] =>
  groups.map((own, index) => ({ path: `f${index}`, begin: 0, end: total(own), whole: true }));
/** Every row as `file:number`, and a check that `whole` says the truth. */
function rowsOf(slices: readonly FileSlice[], groups: readonly number[][]): string[] {
  return slices.flatMap(({ path, begin, end, whole }) => {
    if (whole) expect([begin, end]).toEqual([0, total(groups[Number(path.slice(1))]!)]);
    return Array.from({ length: end - begin }, (_, row) => `${path}:${begin + row}`);
  });
}

describe('shares of files', () => {
  test('hold every row once and in order, whatever the division', () => {
    void fc.assert(
      fc.property(files, fc.integer({ min: 1, max: 20 }), (groups, count) => {
        const slices = wholeSlices(groups);
        const all = rowsOf(slices, groups);
        const byRows = divideByRows(slices, count);
        const byFiles = divideByFiles(slices, count, (path) => groups[Number(path.slice(1))]!);
        expect(byRows.flatMap((part) => rowsOf(part, groups))).toEqual(all);
        expect(byFiles.flatMap((part) => rowsOf(part, groups))).toEqual(all);
        expect([byRows.length, byFiles.length]).toEqual([count, count]);
        const sizes = byRows.map((part) => rowsOf(part, groups).length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('by files are cut only where a row group ends, and not at all if there are enough files', () => {
    void fc.assert(
      fc.property(files, fc.integer({ min: 1, max: 20 }), (groups, count) => {
        const parts = divideByFiles(wholeSlices(groups), count, (path) => groups[Number(path.slice(1))]!);
        for (const slice of parts.flat()) {
          const own = groups[Number(slice.path.slice(1))]!;
          const edges = own.map((_rows, index) => total(own.slice(0, index + 1)));
          expect([0, ...edges]).toContain(slice.begin);
          expect([0, ...edges]).toContain(slice.end);
          if (groups.length >= count) expect(slice.whole).toBe(true);
        }
      }),
    );
  });

  test('of what tasks wrote hold every row once and in order too', () => {
    void fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 10 }),
        fc.integer({ min: 1, max: 12 }),
        fc.constantFrom('rows' as const, 'files' as const),
        (rows, count, by) => {
          const tasks = rows.map((_rows, index) => `t${index}`);
          const resultOf = (task: string): TaskResult => ({
            rows: rows[Number(task.slice(1))]!,
            bytes: 1,
            seconds: 0,
            file: task,
            columns: [],
            partRows: [],
          });
          const found: string[] = [];
          for (let index = 0; index < count; index++) {
            const share = resolveRelation({ kind: 'share', tasks, by, index, count }, resultOf);
            expect(share.kind).toBe('stored');
            for (const { path, begin, end } of share.kind === 'stored' ? share.slices : []) {
              for (let row = begin; row < end; row++) found.push(`${path}:${row}`);
            }
          }
          expect(found).toEqual(
            rows.flatMap((n, index) => Array.from({ length: n }, (_, row) => `t${index}:${row}`)),
          );
        },
      ),
    );
  });
});
