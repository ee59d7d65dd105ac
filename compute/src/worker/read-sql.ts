// Turns a relation into SQL over files: the text of one SELECT. Its parts are nested subqueries, so that
// DuckDB pushes columns and conditions down into the files by itself.
import { strict as assert } from 'node:assert';
import {
  asSubquery,
  fillPlaceholders,
  quoteList,
  quoteName,
  quoteText,
  trimQuery,
} from '../engine/sql-text.ts';
import { decodeSql, emptySql, type StoredColumn } from '../exchange/encoding.ts';
import { partitionColumn } from '../exchange/limits.ts';
import type { FileSlice, Relation, StoredSlice } from '../plan/relation.ts';

/** Names the parts of one query. An input that is used twice is a view, so that its text is there once. */
export interface Views {
  /** Makes a view of this SELECT and returns its quoted name; without a name it gets a new one. */
  add(select: string, name?: string): string;
}

export function selectOf(relation: Relation, views: Views): string {
  switch (relation.kind) {
    case 'files':
      return filesSql(relation.slices, relation.columns);
    case 'stored':
      return storedSql(relation);
    case 'filter': {
      const input = asSubquery(selectOf(relation.input, views));
      return `SELECT * FROM ${input} AS ${quoteName(relation.alias)} WHERE ${relation.condition}\n`;
    }
    case 'sql': {
      const names = relation.inputs.map((input) => views.add(selectOf(input, views)));
      return fillPlaceholders(trimQuery(relation.query), names);
    }
    case 'query':
      relation.inputs.forEach((input, index) => {
        const name = relation.names[index];
        assert(name !== undefined, 'an input without a name');
        views.add(selectOf(input, views), name);
      });
      return trimQuery(relation.query);
    case 'union':
      assert(relation.inputs.length > 0, 'a union of nothing');
      return relation.inputs
        .map((input) => `SELECT * FROM ${asSubquery(selectOf(input, views))}`)
        .join(' UNION ALL ');
    case 'partition':
    case 'share':
      assert.fail(`a relation of kind ${relation.kind} has not been resolved`);
  }
}

function filesSql(slices: readonly FileSlice[], columns: readonly StoredColumn[]): string {
  const items = columns.map((column) => quoteName(column.name)).join(', ');
  return slicesSql(slices, items) ?? emptySql(columns);
}

interface Slice {
  readonly path: string;
  readonly begin: number;
  readonly end: number;
  readonly whole: boolean;
}

/**
 * In the order of the slices. Neighbours that are whole files are one scan; undefined if there are no rows.
 */
function slicesSql(slices: readonly Slice[], items: string): string | undefined {
  const scans: string[] = [];
  let run: string[] = [];
  const endRun = (): void => {
    if (run.length > 0) scans.push(`SELECT ${items} FROM read_parquet(${quoteList(run)})`);
    run = [];
  };
  for (const slice of slices) {
    if (slice.end === slice.begin) continue;
    if (slice.whole) run.push(slice.path);
    else {
      endRun();
      scans.push(`SELECT ${items} FROM ${rowsOf(slice)}`);
    }
  }
  endRun();
  return scans.length === 0 ? undefined : scans.join(' UNION ALL ');
}

/** DuckDB skips the row groups outside of the range. */
function rowsOf(slice: { path: string; begin: number; end: number }): string {
  const scan = `read_parquet(${quoteText(slice.path)}, file_row_number = true)`;
  return `${scan} WHERE file_row_number BETWEEN ${slice.begin} AND ${slice.end - 1}`;
}

type Stored = Extract<Relation, { kind: 'stored' }>;

function storedSql(relation: Stored): string {
  const items = relation.columns.map(decodeSql).join(', ');
  if (relation.partition === undefined)
    return slicesSql(relation.slices, items) ?? emptySql(relation.columns);
  const filled = relation.slices.filter((slice) => slice.end > slice.begin);
  if (filled.length === 0) return emptySql(relation.columns);
  return `SELECT ${items} FROM ${partitionScan(relation, filled)}`;
}

function partitionScan(relation: Stored, filled: readonly StoredSlice[]): string {
  const paths = quoteList(filled.map((slice) => slice.path));
  return `read_parquet(${paths}) WHERE ${partitionColumn} = ${relation.partition}`;
}

/** Counts the rows that a partition of exchange files really has, to compare with what their writers said. */
export function partitionCountSql(relation: Stored): { sql: string; expected: number } | undefined {
  const filled = relation.slices.filter((slice) => slice.end > slice.begin);
  if (relation.partition === undefined || filled.length === 0) return undefined;
  const expected = filled.reduce((sum, slice) => sum + slice.end - slice.begin, 0);
  return { sql: `SELECT count(*) FROM ${partitionScan(relation, filled)}`, expected };
}
