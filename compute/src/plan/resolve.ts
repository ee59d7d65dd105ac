// Replaces the outputs of other tasks in a relation by the files that their committed attempts wrote. Pure.
import { strict as assert } from 'node:assert';
import type { Relation, StoredSlice } from './relation.ts';
import type { TaskResult } from './task.ts';

export function resolveRelation(relation: Relation, resultOf: (task: string) => TaskResult): Relation {
  const resolve = (input: Relation): Relation => resolveRelation(input, resultOf);
  switch (relation.kind) {
    case 'files':
    case 'stored':
      return relation;
    case 'filter':
      return { ...relation, input: resolve(relation.input) };
    case 'sql':
    case 'query':
    case 'union':
      return { ...relation, inputs: relation.inputs.map(resolve) };
    case 'partition': {
      const slices = relation.tasks.map((task): StoredSlice => {
        const result = resultOf(task);
        const rows = result.partRows[relation.partition];
        assert(rows !== undefined, `task ${task} has no partition ${relation.partition}`);
        return { path: result.file, bytes: result.bytes, begin: 0, end: rows, whole: false, task };
      });
      return {
        kind: 'stored',
        slices,
        columns: columnsOf(relation.tasks, resultOf),
        partition: relation.partition,
      };
    }
    case 'share':
      return {
        kind: 'stored',
        slices: relation.by === 'rows' ? rowShare(relation, resultOf) : fileShare(relation, resultOf),
        columns: columnsOf(relation.tasks, resultOf),
        partition: undefined,
      };
  }
}

type Share = Extract<Relation, { kind: 'share' }>;

function columnsOf(tasks: readonly string[], resultOf: (task: string) => TaskResult): TaskResult['columns'] {
  const [first] = tasks;
  assert(first !== undefined, 'an output of no task');
  return resultOf(first).columns;
}

function fileShare(share: Share, resultOf: (task: string) => TaskResult): StoredSlice[] {
  if (share.tasks.length < share.count) return rowShare(share, resultOf);
  const { begin, end } = evenShare(share.tasks.length, share.index, share.count);
  return share.tasks.slice(begin, end).map((task) => {
    const { file, bytes, rows } = resultOf(task);
    return { path: file, bytes, begin: 0, end: rows, whole: true, task };
  });
}

function rowShare(share: Share, resultOf: (task: string) => TaskResult): StoredSlice[] {
  const total = share.tasks.reduce((sum, task) => sum + resultOf(task).rows, 0);
  const { begin, end } = evenShare(total, share.index, share.count);
  const slices: StoredSlice[] = [];
  let before = 0;
  for (const task of share.tasks) {
    const { file, bytes, rows } = resultOf(task);
    const from = Math.max(begin - before, 0);
    const to = Math.min(end - before, rows);
    if (from < to) {
      slices.push({ path: file, bytes, begin: from, end: to, whole: to - from === rows, task });
    }
    before += rows;
  }
  return slices;
}

/**
 * Part `index` of `count` of `total` things: contiguous, sizes differ by at most one, the larger ones first.
 */
export function evenShare(total: number, index: number, count: number): { begin: number; end: number } {
  const small = Math.floor(total / count);
  const larger = total % count;
  const begin = index * small + Math.min(index, larger);
  return { begin, end: begin + small + (index < larger ? 1 : 0) };
}
