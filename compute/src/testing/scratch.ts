// Directories and Parquet files for tests; removed when the test file is done.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Database } from '../engine/database.ts';
import { quoteText } from '../engine/sql-text.ts';

export interface Scratch {
  readonly directory: string;
  path(name: string): string;
  /** Writes the rows of a query; returns the path. */
  parquet(name: string, query: string, rowGroupRows?: number): Promise<string>;
  database: Database;
  remove(): void;
}

export async function makeScratch(): Promise<Scratch> {
  const directory = mkdtempSync(join(tmpdir(), 'catena-compute-test-'));
  const path = (name: string): string => join(directory, name);
  const database = await Database.open({ threads: 2, memoryBytes: 1 << 30, spillDirectory: path('spill') });
  return {
    directory,
    path,
    database,
    async parquet(name, query, rowGroupRows = 2048) {
      const connection = await database.connect();
      const options = `FORMAT parquet, ROW_GROUP_SIZE ${rowGroupRows}`;
      await connection.run(`COPY (${query}) TO ${quoteText(path(name))} (${options})`, 'a fixture');
      connection.close();
      return path(name);
    },
    remove() {
      database.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
