// DuckDB's values as JSON can say them: numbers where they are exact, else text as DuckDB writes it; lists
// and structs as such.
import { DuckDBArrayValue, DuckDBListValue, DuckDBMapValue, DuckDBStructValue } from '@duckdb/node-api';
import type { Row, Value } from './database.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export function jsonOf(value: Value): Json {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  // JSON has no NaN and no infinity.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value.toString();
  }
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue) return value.items.map(jsonOf);
  if (value instanceof DuckDBStructValue) {
    return Object.fromEntries(Object.entries(value.entries).map(([key, entry]) => [key, jsonOf(entry)]));
  }
  if (value instanceof DuckDBMapValue) {
    return value.entries.map(({ key, value: entry }) => ({ key: jsonOf(key), value: jsonOf(entry) }));
  }
  return String(value);
}

export function jsonRows(rows: readonly Row[]): Json[] {
  return rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([key, value]) => [key, jsonOf(value)])),
  );
}
