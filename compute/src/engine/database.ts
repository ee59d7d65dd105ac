// One DuckDB instance and what we need of it: connections, types of a query, rows. Threads and memory belong
// to the instance, so that a worker has exactly one. Everything outside of this folder sees SQL text and
// these few classes.

import { FsError } from '@catena/core';
import {
  type DuckDBConnection,
  type DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBType,
  type DuckDBValue,
  StatementType,
} from '@duckdb/node-api';
import { fromEngineError } from './errors.ts';
import { quoteText } from './sql-text.ts';

export type Value = DuckDBValue;
export type Row = Record<string, Value>;
export type Chunk = DuckDBDataChunk;
export type EngineType = DuckDBType;

export interface DatabaseOptions {
  threads: number;
  memoryBytes: number;
  /** Where DuckDB spills. */
  spillDirectory: string;
}

export interface QueryColumn {
  readonly name: string;
  /** As SQL writes it; a CAST to it gives this type. */
  readonly type: string;
  readonly shape: EngineType;
}

export class Database {
  readonly #instance: DuckDBInstance;

  static async open(options: DatabaseOptions): Promise<Database> {
    const instance = await DuckDBInstance.create(':memory:', {
      threads: String(options.threads),
      memory_limit: `${Math.floor(options.memoryBytes / 1024)}KiB`,
      temp_directory: options.spillDirectory,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'true',
    });
    return new Database(instance);
  }

  private constructor(instance: DuckDBInstance) {
    this.#instance = instance;
  }

  async connect(): Promise<EngineConnection> {
    return new EngineConnection(await this.#instance.connect());
  }

  close(): void {
    this.#instance.closeSync();
  }
}

/** Errors of every method are FsErrors; `doing` names what was going on. */
export class EngineConnection {
  readonly #connection: DuckDBConnection;

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  async run(sql: string, doing: string): Promise<void> {
    await this.#guard(doing, () => this.#connection.run(sql));
  }

  async rows(sql: string, doing: string): Promise<Row[]> {
    return await this.#guard(doing, async () => (await this.#connection.runAndReadAll(sql)).getRowObjects());
  }

  /** The only value of the only row, which is a count. */
  async count(sql: string, doing: string): Promise<number> {
    const [row] = await this.rows(sql, doing);
    return Number(Object.values(row ?? {})[0]);
  }

  /** Chunks as they come, so that a large result is never in memory as a whole. */
  async *chunks(sql: string, doing: string): AsyncGenerator<Chunk> {
    const result = await this.#guard(doing, () => this.#connection.stream(sql));
    for (;;) {
      const chunk = await this.#guard(doing, () => result.fetchChunk());
      if (chunk === null || chunk.rowCount === 0) return;
      yield chunk;
    }
  }

  /** Names and types of what a query returns, without running it. BAD_QUERY if it is no single SELECT. */
  async columns(sql: string, doing: string): Promise<QueryColumn[]> {
    return await this.#guard(doing, async () => {
      const statements = await this.#connection.extractStatements(sql);
      if (statements.count !== 1) {
        throw new FsError('BAD_QUERY', `${doing}: ${statements.count} statements; give one SELECT`);
      }
      const prepared = await statements.prepare(0);
      if (prepared.statementType !== StatementType.SELECT) {
        throw new FsError(
          'BAD_QUERY',
          `${doing}: only a SELECT may stand here; use writeParquet for results`,
        );
      }
      const shapes = Array.from({ length: prepared.columnCount }, (_, index) => prepared.columnType(index));
      prepared.destroySync();
      const described = await this.#connection.runAndReadAll(`DESCRIBE ${sql}`);
      return described.getRowObjects().map((row, index) => ({
        name: String(row.column_name),
        type: String(row.column_type),
        shape: shapes[index]!,
      }));
    });
  }

  interrupt(): void {
    this.#connection.interrupt();
  }

  close(): void {
    this.#connection.closeSync();
  }

  /** Threads and memory of the whole instance, from now on. */
  async setWidth(threads: number, memoryBytes: number): Promise<void> {
    const memory = quoteText(`${Math.floor(memoryBytes / 1024)}KiB`);
    await this.run(`SET threads = ${threads}; SET memory_limit = ${memory}`, 'setting threads and memory');
  }

  async #guard<T>(doing: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      throw fromEngineError(error, doing);
    }
  }
}
