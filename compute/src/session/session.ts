// The entry of the package: a session has workers, a job's name and scratch, and makes DataFrames.
import { FsError } from '@catena/core';
import { makeNode } from '../plan/nodes.ts';
import type { WorkerInfo } from '../worker/hub.ts';
import { DataFrame } from './data-frame.ts';
import { Job, type SessionOptions } from './job.ts';

export interface ReadParquetOptions {
  /** Only these columns. */
  readonly columns?: readonly string[];
  /** Directories with all that is below them. */
  readonly recursive?: boolean;
}

export class Session {
  readonly #job: Job;

  /** Workers start with the first run; `connect` starts them at once. */
  constructor(options: SessionOptions = {}) {
    this.#job = new Job(options);
  }

  get jobId(): string {
    return this.#job.id;
  }

  /** The processes that work for this session now. */
  async workers(): Promise<WorkerInfo[]> {
    return (await this.#job.start()).workers;
  }

  /** Starts the workers and waits for them. */
  async start(): Promise<void> {
    await this.#job.start();
  }

  /** Parquet files by path, pattern or directory, as a frame with one partition. */
  readParquet(paths: string | readonly string[], options: ReadParquetOptions = {}): DataFrame {
    const patterns = typeof paths === 'string' ? [paths] : [...paths];
    if (patterns.length === 0) throw new FsError('BAD_INPUT', 'readParquet without a path');
    const { columns, recursive = false } = options;
    return new DataFrame(this.#job, makeNode({ kind: 'source', patterns, recursive, columns }));
  }

  /** A whole query over these frames, which it calls by name, and over any file that DuckDB can read. */
  sql(query: string, frames: Readonly<Record<string, DataFrame>> = {}): DataFrame {
    const names = Object.keys(frames);
    const inputs = Object.values(frames).map((frame) => frame.nodeFor(this.#job));
    return new DataFrame(this.#job, makeNode({ kind: 'query', query, names, inputs }));
  }

  /**
   * A query on each partition of the frames: {0}, {1} and so on. Without a frame, a query that makes its own
   * rows.
   */
  partialSql(query: string, ...frames: DataFrame[]): DataFrame {
    const inputs = frames.map((frame) => frame.nodeFor(this.#job));
    return new DataFrame(this.#job, makeNode({ kind: 'sql', query, inputs }));
  }

  /** Ends the workers and removes the job's scratch. Waits for a run that is going on. */
  async close(): Promise<void> {
    await this.#job.close();
  }
}

export async function connect(options: SessionOptions = {}): Promise<Session> {
  const session = new Session(options);
  try {
    await session.start();
  } catch (error) {
    await session.close();
    throw error;
  }
  return session;
}
