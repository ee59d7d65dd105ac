// Finds the Parquet files of a source and reads their footers: columns, rows, row groups. Reads no data. A
// pattern that matches nothing and a file that is no Parquet are the caller's errors, said before anything
// runs.
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { FsError } from '@catena/core';
import type { EngineConnection, QueryColumn } from '../engine/database.ts';
import { quoteList, quoteText } from '../engine/sql-text.ts';

export interface ParquetFile {
  readonly path: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly rows: number;
  /** Rows of each row group, in order. */
  readonly groups: readonly number[];
}

export interface ParquetSource {
  readonly files: readonly ParquetFile[];
  readonly columns: readonly QueryColumn[];
}

/** Footers of this many files are looked at; more belong into larger files, or into a catalogue. */
const filesMax = 100_000;

export async function openParquet(
  connection: EngineConnection,
  patterns: readonly string[],
  recursive: boolean,
): Promise<ParquetSource> {
  const paths: string[] = [];
  for (const pattern of patterns) paths.push(...(await expand(connection, pattern, recursive)));
  if (paths.length > filesMax) {
    throw new FsError('BAD_INPUT', `${patterns.join(', ')}: ${paths.length} files; at most ${filesMax}`);
  }
  const unique = [...new Set(paths)].sort();
  const groups = new Map<string, number[]>(unique.map((path) => [path, []]));
  const doing = `reading ${patterns.join(', ')}`;
  const rows = await connection.rows(
    `SELECT file_name, row_group_id, any_value(row_group_num_rows) AS rows
     FROM parquet_metadata(${quoteList(unique)}) GROUP BY ALL ORDER BY ALL`,
    doing,
  );
  for (const row of rows) groups.get(String(row.file_name))!.push(Number(row.rows));
  const files = unique.map((path): ParquetFile => {
    const { size, mtimeMs } = statSync(path);
    const own = groups.get(path)!;
    return { path, bytes: size, modifiedMs: mtimeMs, rows: own.reduce((sum, n) => sum + n, 0), groups: own };
  });
  const columns = await connection.columns(`SELECT * FROM read_parquet(${quoteList(unique)})`, doing);
  return { files, columns };
}

async function expand(connection: EngineConnection, pattern: string, recursive: boolean): Promise<string[]> {
  const full = resolve(pattern);
  const found = statSync(full, { throwIfNoEntry: false });
  if (found?.isFile() === true) return [full];
  const glob = found?.isDirectory() === true ? `${full}/${recursive ? '**/' : ''}*.parquet` : full;
  const rows = await connection.rows(`SELECT file FROM glob(${quoteText(glob)})`, `listing ${pattern}`);
  // Names that begin with a dot are unfinished results, as everywhere.
  const paths = rows
    .map((row) => String(row.file))
    .filter((path) => !/\/\.[^/]+(\/|$)/.test(path.slice(full.length)));
  if (paths.length === 0) {
    const what = found === undefined ? 'no file matches' : 'no *.parquet file in this directory';
    throw new FsError('BAD_INPUT', `${pattern}: ${what}; check the path`);
  }
  return paths;
}
