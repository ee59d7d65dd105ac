// The number of the partition that a row belongs to, as SQL. Keys are cast to the type that all sides of a
// join share, and NULL is a value like any other, so that equal keys always meet in one partition.
import { quoteName } from '../engine/sql-text.ts';

export type PartitionRule =
  /** By the hash of these columns, each cast to the type beside it. */
  | { readonly kind: 'hash'; readonly keys: readonly { readonly column: string; readonly type: string }[] }
  /** By an expression that is the partition's number itself. */
  | { readonly kind: 'column'; readonly expression: string };

/**
 * Which part of the fan-out one step makes: all of it, groups of partitions, or the partitions within one
 * group.
 */
export type Step =
  | { readonly kind: 'whole' }
  | { readonly kind: 'groups'; readonly size: number }
  | { readonly kind: 'within'; readonly size: number };

export function partitionSql(rule: PartitionRule, partitions: number, step: Step): string {
  const index =
    rule.kind === 'hash' ? hashSql(rule.keys, partitions) : columnSql(rule.expression, partitions);
  if (step.kind === 'groups') return `((${index}) // ${step.size})::UTINYINT`;
  if (step.kind === 'within') return `((${index}) % ${step.size})::UTINYINT`;
  return `(${index})::UTINYINT`;
}

function hashSql(keys: readonly { column: string; type: string }[], partitions: number): string {
  // hash(NULL) is a value of its own. Bits 32 and up: DuckDB's own hash tables place by the lowest and divide
  // by the highest bits of the same hash, and would crowd if all keys of a partition shared those.
  const values = keys.map(({ column, type }) => `CAST(${quoteName(column)} AS ${type})`);
  return `(hash(${values.join(', ')}) >> 32) % ${partitions}`;
}

function columnSql(expression: string, partitions: number): string {
  const last = partitions - 1;
  const key = `coalesce((${expression})::VARCHAR, 'NULL')`;
  const message = `'partition key ' || ${key} || ' is out of range 0-${last}'`;
  const isInRange = `(${expression}) BETWEEN 0 AND ${last}`;
  return `CASE WHEN ${isInRange} THEN (${expression})::UINTEGER ELSE error(${message}) END`;
}
