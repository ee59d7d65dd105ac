// From the optimized logical plan to tasks. Operations on single partitions are fused into the task that
// reads them; a task ends where rows have to move, where two consumers share a costly result, and at the
// result. Pure but for the asked key types.
import { FsError } from '@catena/core';
import type { EngineConnection } from '../engine/database.ts';
import type { StoredColumn } from '../exchange/encoding.ts';
import { partitionsMax } from '../exchange/limits.ts';
import type { OptimizedPlan } from '../optimize/optimize.ts';
import { schemaOf } from '../optimize/schemas.ts';
import { planExchange } from './exchange-plan.ts';
import { findKeyTypes, type KeyTypes } from './key-types.ts';
import { countConsumers, type Node, type RepartitionNode, type SqlNode } from './nodes.ts';
import { type FileSlice, isCheap, type Relation, tasksRead } from './relation.ts';
import { divideByFiles, divideByRows, isSplittable, rowsOfSlices, splitRelation } from './split-files.ts';
import type { Task, Work } from './task.ts';

export type Goal =
  /** One file per partition. */
  | { readonly kind: 'store'; readonly target: 'scratch' | 'result'; readonly limit: number | undefined }
  | { readonly kind: 'count' };

export interface ExecutionPlan {
  /** Dependencies come before their dependants. */
  readonly tasks: readonly Task[];
  /** The tasks whose results are the answer, in the order of the partitions. */
  readonly outputs: readonly string[];
  /** Known without a task: rows of plain files. */
  readonly countKnown: number | undefined;
}

export interface PlannerOptions {
  readonly slots: number;
  /** Nodes that hold these files, the best first. */
  readonly locate: (paths: readonly string[]) => readonly string[];
}

export async function makePlan(
  connection: EngineConnection,
  plan: OptimizedPlan,
  goal: Goal,
  options: PlannerOptions,
): Promise<ExecutionPlan> {
  const keyTypes = await findKeyTypes(connection, plan.root, plan.schemas);
  return new Planner(plan, keyTypes, options).plan(goal);
}

export class Planner {
  readonly optimized: OptimizedPlan;
  readonly keyTypes: KeyTypes;
  readonly options: PlannerOptions;
  readonly #consumers: ReadonlyMap<number, number>;
  readonly #planned = new Map<number, readonly Relation[]>();
  readonly #tasks: Task[] = [];
  #exchanges = 0;
  /** Rows that a task is thought to write. */
  readonly #estimates = new Map<string, number>();
  readonly #groups: ReadonlyMap<string, readonly number[]>;

  constructor(optimized: OptimizedPlan, keyTypes: KeyTypes, options: PlannerOptions) {
    this.optimized = optimized;
    this.keyTypes = keyTypes;
    this.options = options;
    this.#consumers = countConsumers(optimized.root);
    const files = [...optimized.sources.values()].flatMap((source) => source.files);
    this.#groups = new Map(files.map((file) => [file.path, file.groups]));
  }

  plan(goal: Goal): ExecutionPlan {
    let relations = this.#relationsOf(this.optimized.root);
    if (goal.kind === 'count') {
      const known = relations.map((relation) => this.exactRows(relation));
      const total = known.reduce<number | undefined>(
        (sum, rows) => (sum === undefined || rows === undefined ? undefined : sum + rows),
        0,
      );
      if (total !== undefined) return { tasks: [], outputs: [], countKnown: total };
      relations = this.split(relations);
    }
    const stage = goal.kind === 'count' ? 'count' : goal.target === 'result' ? 'write' : 'collect';
    const outputs = relations.map((relation) =>
      this.addTask(stage, goal.kind === 'count' ? { kind: 'count', relation } : { ...goal, relation }),
    );
    return { tasks: this.#withExclusive(), outputs, countKnown: undefined };
  }

  /** Adds a task; returns its id. */
  addTask(stage: string, work: Work): string {
    const { relation } = work;
    const id = `task-${this.#tasks.length}`;
    const limited = work.kind === 'store' && work.limit !== undefined;
    this.#estimates.set(id, this.estimateRows(relation));
    this.#tasks.push({
      id,
      stage,
      dependsOn: [...tasksRead(relation)],
      exclusive: false,
      hints: this.options.locate(pathsOf(relation)),
      expectedRows: limited ? undefined : this.exactRows(relation),
      work,
    });
    return id;
  }

  /** Numbers the exchanges of this plan. */
  nextExchange(): number {
    this.#exchanges++;
    return this.#exchanges;
  }

  groupsOf = (path: string): readonly number[] => this.#groups.get(path) ?? [];

  /** Known from footers; undefined if something may drop or make rows. */
  exactRows(relation: Relation): number | undefined {
    if (relation.kind === 'files') return rowsOfSlices(relation.slices);
    if (relation.kind !== 'union') return undefined;
    return relation.inputs.reduce<number | undefined>((sum, input) => {
      const rows = this.exactRows(input);
      return sum === undefined || rows === undefined ? undefined : sum + rows;
    }, 0);
  }

  /** A guess, for the size of row groups only. */
  estimateRows(relation: Relation): number {
    switch (relation.kind) {
      case 'files':
        return rowsOfSlices(relation.slices);
      case 'filter':
        return this.estimateRows(relation.input);
      case 'sql':
      case 'query':
      case 'union':
        return relation.inputs.reduce((sum, input) => sum + this.estimateRows(input), 0);
      case 'partition':
      case 'share':
      case 'stored': {
        const tasks = [...tasksRead(relation)];
        return tasks.reduce((sum, task) => sum + (this.#estimates.get(task) ?? 0), 0);
      }
    }
  }

  /** Enough relations to feed all slots, where that needs nothing but reading fewer rows each. */
  split(relations: readonly Relation[]): readonly Relation[] {
    const { slots } = this.options;
    if (relations.length >= slots || !relations.every(isSplittable)) return relations;
    const each = Math.ceil(slots / relations.length);
    return relations.flatMap((relation) => splitRelation(relation, each, this.groupsOf));
  }

  /** Writes each relation into a file of its own; returns the tasks. */
  store(stage: string, relations: readonly Relation[]): string[] {
    return relations.map((relation) =>
      this.addTask(stage, { kind: 'store', relation, limit: undefined, target: 'scratch' }),
    );
  }

  #relationsOf(node: Node): readonly Relation[] {
    const known = this.#planned.get(node.id);
    if (known !== undefined) return known;
    let relations = this.#planNode(node);
    const isShared = (this.#consumers.get(node.id) ?? 0) > 1;
    if (isShared && !relations.every(isCheap))
      relations = this.store('shared result', relations).map(wholeOutput);
    this.#planned.set(node.id, relations);
    return relations;
  }

  #planNode(node: Node): readonly Relation[] {
    switch (node.kind) {
      case 'source':
        return [{ kind: 'files', slices: this.#slicesOf(node.id), columns: this.#sourceColumns(node) }];
      case 'filter': {
        const { condition, alias } = node;
        return this.#relationsOf(node.input).map((input) => ({ kind: 'filter', input, condition, alias }));
      }
      case 'repartition':
        return this.#planRepartition(node);
      case 'sql':
        return this.#planSql(node);
      case 'query': {
        const inputs = node.inputs.map((input) => this.#gathered(this.#relationsOf(input), 'gather'));
        return [{ kind: 'query', query: node.query, names: node.names, inputs }];
      }
    }
  }

  #slicesOf(source: number): FileSlice[] {
    const { files } = this.optimized.sources.get(source)!;
    return files.map(({ path, rows }) => ({ path, begin: 0, end: rows, whole: true }));
  }

  #sourceColumns(node: Node): StoredColumn[] {
    const kept = this.optimized.kept.get(node.id);
    return schemaOf(this.optimized.schemas, node)
      .filter((column) => kept === undefined || kept.includes(column.name))
      .map(({ name, type }) => ({ name, type, encoding: 'plain', members: [] }));
  }

  /** All partitions as one relation; what is costly is computed by a task per partition first. */
  #gathered(relations: readonly Relation[], stage: string): Relation {
    const [only] = relations;
    if (relations.length === 1 && only !== undefined) return only;
    if (relations.every(isCheap)) return { kind: 'union', inputs: relations };
    return { kind: 'share', tasks: this.store(stage, relations), by: 'files', index: 0, count: 1 };
  }

  #planRepartition(node: RepartitionNode): readonly Relation[] {
    const { division, partitions } = node;
    if (partitions > partitionsMax) {
      throw new FsError('INVALID_ARGUMENT', `${partitions} partitions; at most ${partitionsMax}`);
    }
    const inputs = this.#relationsOf(node.input);
    if (division.by === 'hash' || division.by === 'column') {
      if (partitions > 1) return planExchange(this, node, division, inputs);
      // A single partition by column still has to be checked for numbers out of range.
      if (division.by === 'hash') return [this.#gathered(inputs, 'gather')];
      return planExchange(this, node, division, inputs);
    }
    return division.by === 'rows'
      ? this.#divideRows(inputs, partitions)
      : this.#divideFiles(inputs, partitions);
  }

  #divideRows(inputs: readonly Relation[], count: number): readonly Relation[] {
    const slices = filesOnly(inputs);
    if (slices !== undefined) return divideByRows(slices, count).map(likeFiles(inputs));
    return this.#shares(inputs, count, 'rows');
  }

  #divideFiles(inputs: readonly Relation[], count: number): readonly Relation[] {
    const slices = filesOnly(inputs);
    if (slices !== undefined) return divideByFiles(slices, count, this.groupsOf).map(likeFiles(inputs));
    const [only] = inputs;
    if (inputs.length === 1 && only?.kind === 'filter' && isSplittable(only)) {
      const parts = this.#divideFiles([only.input], count);
      return parts.map((input) => ({ ...only, input }));
    }
    if (inputs.length === count) return inputs;
    return this.#shares(inputs, count, 'files');
  }

  #shares(inputs: readonly Relation[], count: number, by: 'files' | 'rows'): readonly Relation[] {
    const tasks = this.store(`before a repartition by ${by}`, inputs);
    return Array.from({ length: count }, (_, index) => ({ kind: 'share', tasks, by, index, count }));
  }

  /** Inputs with one partition go to every task; the others must have the same number of partitions. */
  #planSql(node: SqlNode): readonly Relation[] {
    const inputs = node.inputs.map((input) => this.#relationsOf(input));
    const counts = [...new Set(inputs.map((input) => input.length).filter((length) => length > 1))];
    if (counts.length > 1) {
      const detail = `inputs have ${counts.join(' and ')} partitions`;
      throw new FsError(
        'BAD_QUERY',
        `partialSql: ${detail}; repartition them to the same number, or one of them to 1`,
      );
    }
    const count = counts[0] ?? 1;
    const ready = inputs.map((input) => {
      const isBroadcast = input.length === 1 && count > 1 && !input.every(isCheap);
      return isBroadcast ? this.store('broadcast input', input).map(wholeOutput) : input;
    });
    return Array.from({ length: count }, (_, index) => ({
      kind: 'sql',
      query: node.query,
      inputs: ready.map((input) => input[input.length === 1 ? 0 : index]!),
    }));
  }

  /** A task that is alone in its stage has the whole node: nothing else could use the other slots. */
  #withExclusive(): Task[] {
    const sizes = new Map<string, number>();
    for (const task of this.#tasks) sizes.set(task.stage, (sizes.get(task.stage) ?? 0) + 1);
    return this.#tasks.map((task) => ({ ...task, exclusive: sizes.get(task.stage) === 1 }));
  }
}

export function wholeOutput(task: string): Relation {
  return { kind: 'share', tasks: [task], by: 'files', index: 0, count: 1 };
}

function filesOnly(relations: readonly Relation[]): FileSlice[] | undefined {
  const slices: FileSlice[] = [];
  for (const relation of relations) {
    if (relation.kind !== 'files') return undefined;
    slices.push(...relation.slices);
  }
  return slices;
}

function likeFiles(inputs: readonly Relation[]): (slices: FileSlice[]) => Relation {
  const [first] = inputs;
  const columns = first?.kind === 'files' ? first.columns : [];
  return (slices) => ({ kind: 'files', slices, columns });
}

function pathsOf(relation: Relation): string[] {
  if (relation.kind === 'files') return relation.slices.map((slice) => slice.path);
  if (relation.kind === 'filter') return pathsOf(relation.input);
  if (relation.kind === 'sql' || relation.kind === 'query' || relation.kind === 'union') {
    return relation.inputs.flatMap(pathsOf);
  }
  return [];
}
