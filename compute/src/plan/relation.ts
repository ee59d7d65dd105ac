// What a task reads, as data that travels to a worker: files, queries over them, and outputs of other tasks.
// A worker only ever sees `stored` in place of the outputs; the driver fills them in when it sends the task
// (see resolve.ts).
import type { StoredColumn } from '../exchange/encoding.ts';

/** Rows [begin, end) of a file of the user. */
export interface FileSlice {
  readonly path: string;
  readonly begin: number;
  readonly end: number;
  /** The slice is the whole file, which is read without counting rows. */
  readonly whole: boolean;
}

/** Rows [begin, end) of a file that a task wrote. */
export interface StoredSlice {
  readonly path: string;
  readonly bytes: number;
  readonly begin: number;
  readonly end: number;
  /** The slice is the whole file. */
  readonly whole: boolean;
  readonly task: string;
}

export type Relation =
  | {
      readonly kind: 'files';
      readonly slices: readonly FileSlice[];
      readonly columns: readonly StoredColumn[];
    }
  | {
      readonly kind: 'filter';
      readonly input: Relation;
      readonly condition: string;
      readonly alias: string;
    }
  | { readonly kind: 'sql'; readonly query: string; readonly inputs: readonly Relation[] }
  | {
      readonly kind: 'query';
      readonly query: string;
      readonly names: readonly string[];
      readonly inputs: readonly Relation[];
    }
  | { readonly kind: 'union'; readonly inputs: readonly Relation[] }
  /** One partition of what these exchange tasks wrote. */
  | { readonly kind: 'partition'; readonly tasks: readonly string[]; readonly partition: number }
  /** Share `index` of `count` of what these tasks wrote, in order. */
  | {
      readonly kind: 'share';
      readonly tasks: readonly string[];
      readonly by: 'files' | 'rows';
      readonly index: number;
      readonly count: number;
    }
  | {
      readonly kind: 'stored';
      readonly slices: readonly StoredSlice[];
      readonly columns: readonly StoredColumn[];
      /**
       * The files are sorted by partition, and only this one is meant; `end - begin` is then its number of
       * rows.
       */
      readonly partition: number | undefined;
    };

export function relationInputs(relation: Relation): readonly Relation[] {
  switch (relation.kind) {
    case 'filter':
      return [relation.input];
    case 'sql':
    case 'query':
    case 'union':
      return relation.inputs;
    default:
      return [];
  }
}

/** The tasks whose outputs a relation reads. */
export function tasksRead(relation: Relation): Set<string> {
  const own = relation.kind === 'partition' || relation.kind === 'share' ? relation.tasks : [];
  return new Set([...own, ...relationInputs(relation).flatMap((input) => [...tasksRead(input)])]);
}

/** Reading it again costs no more than reading its files. */
export function isCheap(relation: Relation): boolean {
  if (relation.kind === 'sql' || relation.kind === 'query') return false;
  return relationInputs(relation).every(isCheap);
}
