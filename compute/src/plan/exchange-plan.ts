// One exchange as tasks: producers that each write one file sorted by partition, in one step up to 64
// partitions and in two beyond, never more than 64 files for one reader.

import {
  partitionsPerStepMax,
  producersPerStepMax,
  rowGroupRowsMax,
  rowGroupRowsMin,
} from '../exchange/limits.ts';
import type { PartitionRule, Step } from '../exchange/partition-sql.ts';
import type { Division, RepartitionNode } from './nodes.ts';
import type { Planner } from './planner.ts';
import type { Relation } from './relation.ts';
import { evenShare } from './resolve.ts';

type Moving = Extract<Division, { by: 'hash' | 'column' }>;

export function planExchange(
  planner: Planner,
  node: RepartitionNode,
  division: Moving,
  inputs: readonly Relation[],
): readonly Relation[] {
  const { partitions } = node;
  const rule = ruleOf(planner, node, division);
  const columns = planner.optimized.kept.get(node.id) ?? [];
  const carried = [...new Set([...columns, ...columnsOfInput(planner, node)])];
  const producers = atMost(planner.split(inputs), producersPerStepMax);
  const name = `${division.by === 'hash' ? division.keys.join(', ') : division.expression}`;
  const write = (relation: Relation, step: Step, parts: number, stage: string): string =>
    planner.addTask(stage, {
      kind: 'exchange',
      relation,
      columns: carried,
      rule,
      partitions,
      step,
      parts,
      rowGroupRows: groupRows(planner.estimateRows(relation) / parts),
    });
  const stage = `exchange ${planner.nextExchange()} by ${name}`;
  if (partitions <= partitionsPerStepMax) {
    const tasks = producers.map((relation) => write(relation, { kind: 'whole' }, partitions, stage));
    return Array.from({ length: partitions }, (_, partition) => ({ kind: 'partition', tasks, partition }));
  }
  const size = partitionsPerStepMax;
  const groups = Math.ceil(partitions / size);
  const first = producers.map((relation) =>
    write(relation, { kind: 'groups', size }, groups, `${stage}, step 1`),
  );
  return Array.from({ length: groups }, (_, group) => {
    const parts = Math.min(size, partitions - group * size);
    const input: Relation = { kind: 'partition', tasks: first, partition: group };
    const task = write(input, { kind: 'within', size }, parts, `${stage}, step 2`);
    return Array.from(
      { length: parts },
      (_, partition): Relation => ({ kind: 'partition', tasks: [task], partition }),
    );
  }).flat();
}

function ruleOf(planner: Planner, node: RepartitionNode, division: Moving): PartitionRule {
  if (division.by === 'column') return { kind: 'column', expression: division.expression };
  const types = planner.keyTypes.get(node.id) ?? [];
  return { kind: 'hash', keys: division.keys.map((column, index) => ({ column, type: types[index]! })) };
}

/** Keys are carried too: the second step and the reader's own query may need them. */
function columnsOfInput(planner: Planner, node: RepartitionNode): readonly string[] {
  return planner.optimized.kept.get(node.input.id) ?? [];
}

/** Joins neighbours until there are few enough. */
function atMost(relations: readonly Relation[], count: number): readonly Relation[] {
  if (relations.length <= count) return relations;
  return Array.from({ length: count }, (_, index) => {
    const { begin, end } = evenShare(relations.length, index, count);
    return { kind: 'union', inputs: relations.slice(begin, end) };
  });
}

function groupRows(rowsPerPart: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, rowsPerPart)));
  return Math.min(rowGroupRowsMax, Math.max(rowGroupRowsMin, wanted));
}
