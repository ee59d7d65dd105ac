// A lazy table in partitions. Transformations only build a plan; methods that return promises of data run it.

import { FsError } from '@catena/core';
import type { Table } from 'apache-arrow';
import type { Chunk, EngineConnection, Row } from '../engine/database.ts';
import { type Division, makeNode, type Node } from '../plan/nodes.ts';
import type { Goal } from '../plan/planner.ts';
import type { Relation } from '../plan/relation.ts';
import type { TaskResult } from '../plan/task.ts';
import { ParquetSink, type WriteOptions, type Written } from '../sinks/parquet.ts';
import { selectOf } from '../worker/read-sql.ts';
import { explainText, type RunReport } from './explain.ts';
import type { Job } from './job.ts';

export interface RepartitionOptions {
  /** Exactly even rows; files may be split. */
  readonly byRows?: boolean;
  /** Rows with equal values of these columns meet in one partition. */
  readonly hashBy?: string | readonly string[];
  /** An expression that is the partition's number, 0 to n-1. */
  readonly by?: string;
}

export interface RunOptions {
  readonly signal?: AbortSignal;
}

export class DataFrame {
  readonly #job: Job;
  readonly #node: Node;
  #lastRun: RunReport | undefined;

  constructor(job: Job, node: Node) {
    this.#job = job;
    this.#node = node;
  }

  /** For Session and partialSql: the plan behind this frame. A frame of another session is refused. */
  nodeFor(job: Job): Node {
    if (job !== this.#job) throw new FsError('INVALID_ARGUMENT', 'a DataFrame of another session');
    return this.#node;
  }

  /**
   * Into `partitions` parts: by files (split between row groups where files are too few), rows, hash or
   * number.
   */
  repartition(partitions: number, options: RepartitionOptions = {}): DataFrame {
    if (!Number.isInteger(partitions) || partitions < 1) {
      throw new FsError('INVALID_ARGUMENT', `repartition into ${partitions}; give a whole number from 1`);
    }
    return this.#then({ kind: 'repartition', input: this.#node, partitions, division: divisionOf(options) });
  }

  /** Keeps the rows for which the SQL condition is true. */
  filter(condition: string): DataFrame {
    return this.#then({ kind: 'filter', input: this.#node, condition, alias: 'input' });
  }

  /** Runs a query on each partition of this frame, which is {0}, and of the others, {1} and so on. */
  partialSql(query: string, ...others: DataFrame[]): DataFrame {
    const inputs = [this.#node, ...others.map((other) => other.nodeFor(this.#job))];
    return this.#then({ kind: 'sql', query, inputs });
  }

  async count(options: RunOptions = {}): Promise<number> {
    const prepared = await this.#job.prepare(this.#node, { kind: 'count' });
    const request = { goal: { kind: 'count' } as const, name: 'count', signal: options.signal };
    if (prepared.plan.countKnown !== undefined) return prepared.plan.countKnown;
    const { value, report } = await this.#job.run(prepared, request, async (results) =>
      results.reduce((sum, result) => sum + result.rows, 0),
    );
    this.#lastRun = report;
    return value;
  }

  /**
   * The first rows, in the order of the partitions. Values are DuckDB's own classes where JavaScript has no
   * lossless type.
   */
  async take(limit: number, options: RunOptions = {}): Promise<Row[]> {
    if (!Number.isInteger(limit) || limit < 0) throw new FsError('INVALID_ARGUMENT', `take(${limit})`);
    return await this.#collect(limit, options, `take(${limit})`, async (select, connection) => {
      return await connection.rows(`SELECT * FROM (${select}) LIMIT ${limit}`, 'reading results');
    });
  }

  async takeAll(options: RunOptions = {}): Promise<Row[]> {
    return await this.#collect(undefined, options, 'takeAll', (select, connection) =>
      connection.rows(select, 'reading results'),
    );
  }

  /** Types without an equal in Arrow become text, with `duckdb.type` in the field's metadata. */
  async toArrow(options: RunOptions = {}): Promise<Table> {
    // Loaded on first use: few programs want it, and loading takes as long as DuckDB itself.
    const { arrowTable } = await import('../engine/arrow.ts');
    return await this.#collect(undefined, options, 'toArrow', async (select, connection) => {
      const columns = await connection.columns(select, 'reading results');
      const chunks: Chunk[] = [];
      for await (const chunk of connection.chunks(select, 'reading results')) chunks.push(chunk);
      return arrowTable(columns, chunks);
    });
  }

  /** Columns and rows as a table would print them. */
  async toText(limit: number, options: RunOptions = {}): Promise<{ columns: string[]; rows: Row[] }> {
    return await this.#collect(limit, options, `take(${limit})`, async (select, connection) => {
      const columns = (await connection.columns(select, 'reading results')).map((column) => column.name);
      return {
        columns,
        rows: await connection.rows(`SELECT * FROM (${select}) LIMIT ${limit}`, 'reading results'),
      };
    });
  }

  /** A directory of one file per partition. It appears as a whole, or not at all. */
  async writeParquet(path: string, options: WriteOptions & RunOptions = {}): Promise<Written> {
    const job = this.#job;
    const goal: Goal = { kind: 'store', target: 'result', limit: undefined };
    const prepared = await job.prepare(this.#node, goal);
    const sink = await ParquetSink.open(path, job.nextWriter(), job.directory, options, job.transfer);
    try {
      const request = {
        goal,
        name: `writeParquet ${path}`,
        resultDirectory: sink.staging,
        signal: options.signal,
      };
      const { value, report } = await job.run(prepared, request, (results, connection) =>
        sink.commit(connection, results),
      );
      this.#lastRun = { ...report, bytesOut: value.bytesCopied };
      return value;
    } catch (error) {
      await sink.abandon();
      throw error;
    }
  }

  /** The plan, what was pushed down, and what the last run of this frame did. */
  async explain(): Promise<string> {
    const goal: Goal = { kind: 'store', target: 'scratch', limit: undefined };
    const { optimized, plan } = await this.#job.prepare(this.#node, goal);
    const { id, resources, platform, transfer } = this.#job;
    return explainText({
      jobId: id,
      platform: platform.name,
      resources,
      transfer: transfer?.name,
      optimized,
      plan,
      bytesIn: this.#job.bytesCopiedIn,
      lastRun: this.#lastRun,
    });
  }

  #then(node: Parameters<typeof makeNode>[0]): DataFrame {
    return new DataFrame(this.#job, makeNode(node) as Node);
  }

  async #collect<T>(
    limit: number | undefined,
    options: RunOptions,
    name: string,
    read: (select: string, connection: EngineConnection) => Promise<T>,
  ): Promise<T> {
    const goal: Goal = { kind: 'store', target: 'scratch', limit };
    const prepared = await this.#job.prepare(this.#node, goal);
    const { value, report } = await this.#job.run(
      prepared,
      { goal, name, signal: options.signal },
      (results, connection) => read(selectOf(storedResults(results), noViews), connection),
    );
    this.#lastRun = report;
    return value;
  }
}

const noViews = {
  add: (): string => {
    throw new Error('stored files need no views');
  },
};

function storedResults(results: readonly TaskResult[]): Relation {
  const slices = results.map(({ file, bytes, rows }) => ({
    path: file,
    bytes,
    begin: 0,
    end: rows,
    whole: true,
    task: '',
  }));
  return { kind: 'stored', slices, columns: results[0]?.columns ?? [], partition: undefined };
}

function divisionOf(options: RepartitionOptions): Division {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== false);
  if (given.length > 1) {
    const names = given.map(([name]) => name).join(' and ');
    throw new FsError('INVALID_ARGUMENT', `repartition with ${names}; give one of byRows, hashBy, by`);
  }
  const { byRows, hashBy, by } = options;
  if (by !== undefined) return { by: 'column', expression: by };
  if (byRows === true) return { by: 'rows' };
  if (hashBy === undefined) return { by: 'files' };
  const keys = typeof hashBy === 'string' ? [hashBy] : [...hashBy];
  if (keys.length === 0) throw new FsError('INVALID_ARGUMENT', 'repartition with hashBy: no column');
  return { by: 'hash', keys };
}
