// Runs one attempt of a task on this worker's database and writes its one file. Never touches another
// attempt's file, and says nothing of success before the rows written are the rows read.
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, FsError, fromSystemError } from '@catena/core';
import type { EngineConnection, QueryColumn } from '../engine/database.ts';
import { asSubquery, quoteName, quoteText } from '../engine/sql-text.ts';
import { encodeColumn, resultSql } from '../exchange/encoding.ts';
import { partitionColumn, rowGroupRowsMax } from '../exchange/limits.ts';
import { partitionSql } from '../exchange/partition-sql.ts';
import { type Relation, relationInputs, type StoredSlice } from '../plan/relation.ts';
import type { TaskResult, Work } from '../plan/task.ts';
import type { RunOrder } from './protocol.ts';
import { partitionCountSql, selectOf, type Views } from './read-sql.ts';

/** An output of another task is gone or cut off: that task has to run again. */
export class InputLost extends FsError {
  readonly tasks: readonly string[];
  constructor(tasks: readonly string[], path: string, cause?: unknown) {
    super('IO', `intermediate file ${path} is missing or changed`, { cause });
    this.tasks = tasks;
  }
}

export async function execute(
  connection: EngineConnection,
  order: RunOrder,
  clock: Clock,
): Promise<TaskResult> {
  const { relation } = order.work;
  checkInputs(relation);
  try {
    return await run(connection, order, clock);
  } catch (error) {
    // A file that went after the check is an error of any kind to the engine: of that task's, all the same.
    checkInputs(relation, error);
    throw error;
  }
}

async function run(connection: EngineConnection, order: RunOrder, clock: Clock): Promise<TaskResult> {
  const startNs = clock.wallNs();
  const views = new ViewMaker(connection, order.task);
  const select = selectOf(order.work.relation, views);
  await views.create();
  await checkPartitions(connection, order.work.relation);
  const done = await runWork(connection, order, select);
  const seconds = Math.max(0, Number(clock.wallNs() - startNs) / 1e9);
  if (order.expectedRows !== undefined && order.expectedRows !== done.rows) {
    const detail = `task ${order.task} read ${done.rows} rows of files that have ${order.expectedRows}`;
    throw new FsError('CORRUPT', `${detail}; did an input file change while the job ran?`);
  }
  return { ...done, seconds };
}

type Done = Omit<TaskResult, 'seconds'>;

async function runWork(connection: EngineConnection, order: RunOrder, select: string): Promise<Done> {
  const { work } = order;
  const doing = `task ${order.task}`;
  // Rows that are only passed on may change their order; rows that somebody looks at keep it.
  await connection.run(`SET preserve_insertion_order = ${work.kind === 'store'}`, doing);
  if (work.kind === 'count') {
    const rows = await connection.count(`SELECT count(*) FROM ${asSubquery(select)}`, doing);
    return { rows, bytes: 0, file: '', columns: [], partRows: [] };
  }
  const columns = await connection.columns(select, doing);
  refuseTwins(columns, doing);
  prepareFile(order.file);
  if (work.kind === 'exchange') return await writeExchange(connection, order, work, select, columns);
  return await writeStore(connection, order, work, select, columns);
}

async function writeExchange(
  connection: EngineConnection,
  order: RunOrder,
  work: Extract<Work, { kind: 'exchange' }>,
  select: string,
  columns: readonly QueryColumn[],
): Promise<Done> {
  const doing = `task ${order.task}`;
  const kept = columns.filter((column) => work.columns.includes(column.name)).map(encodeColumn);
  const part = `${partitionSql(work.rule, work.partitions, work.step)} AS ${partitionColumn}`;
  const items = [...kept.map((column) => column.sql), part].join(', ');
  const query = `SELECT ${items} FROM ${asSubquery(select)} ORDER BY ${partitionColumn}`;
  const rows = await copy(connection, query, order.file, work.rowGroupRows, 'uncompressed', doing);
  const counts = await connection.rows(
    `SELECT ${partitionColumn} AS part, count(*) AS rows FROM read_parquet(${quoteText(order.file)}) GROUP BY ALL`,
    doing,
  );
  const partRows = new Array<number>(work.parts).fill(0);
  for (const row of counts) partRows[Number(row.part)] = Number(row.rows);
  const written = partRows.reduce((sum, value) => sum + value, 0);
  if (written !== rows || partRows.length !== work.parts) {
    throw new FsError('INTERNAL', `${doing}: ${rows} rows went into an exchange and ${written} came out`);
  }
  const stored = kept.map((column) => column.stored);
  return { rows, bytes: sizeOf(order.file), file: order.file, columns: stored, partRows };
}

async function writeStore(
  connection: EngineConnection,
  order: RunOrder,
  work: Extract<Work, { kind: 'store' }>,
  select: string,
  columns: readonly QueryColumn[],
): Promise<Done> {
  const doing = `task ${order.task}`;
  const isResult = work.target === 'result';
  const encoded = columns.map(encodeColumn);
  const items = isResult ? columns.map(resultSql) : encoded.map((column) => column.sql);
  const limit = work.limit === undefined ? '' : ` LIMIT ${work.limit}`;
  const query = `SELECT ${items.join(', ')} FROM ${asSubquery(select)}${limit}`;
  const compression = isResult ? 'zstd' : 'uncompressed';
  const rows = await copy(connection, query, order.file, rowGroupRowsMax, compression, doing);
  if (isResult) flush(order.file);
  const stored = encoded.map((column) => column.stored);
  return { rows, bytes: sizeOf(order.file), file: order.file, columns: stored, partRows: [] };
}

async function copy(
  connection: EngineConnection,
  query: string,
  file: string,
  rowGroupRows: number,
  compression: 'uncompressed' | 'zstd',
  doing: string,
): Promise<number> {
  const options = `FORMAT parquet, COMPRESSION ${compression}, ROW_GROUP_SIZE ${rowGroupRows}`;
  return await connection.count(`COPY (${query}) TO ${quoteText(file)} (${options})`, doing);
}

function refuseTwins(columns: readonly QueryColumn[], doing: string): void {
  const seen = new Set<string>();
  for (const { name } of columns) {
    const folded = name.toLowerCase();
    if (seen.has(folded)) {
      throw new FsError('BAD_QUERY', `${doing}: two columns are named ${name}; give one of them an alias`);
    }
    seen.add(folded);
  }
}

function prepareFile(file: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    rmSync(file, { force: true });
  } catch (error) {
    throw fromSystemError(error, `preparing ${file}`);
  }
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    throw fromSystemError(error, `looking at ${file}`);
  }
}

/** A result that the job's caller is told of has to survive a power loss. */
function flush(file: string): void {
  try {
    const fd = openSync(file, 'r+');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw fromSystemError(error, `flushing ${file}`);
  }
}

function storedOf(relation: Relation): Extract<Relation, { kind: 'stored' }>[] {
  const own = relation.kind === 'stored' ? [relation] : [];
  return [...own, ...relationInputs(relation).flatMap(storedOf)];
}

function checkInputs(relation: Relation, cause?: unknown): void {
  const slices = storedOf(relation).flatMap((stored) => stored.slices);
  const isThere = (slice: StoredSlice): boolean =>
    statSync(slice.path, { throwIfNoEntry: false })?.size === slice.bytes;
  const lost = slices.filter((slice) => !isThere(slice));
  const [first] = lost;
  if (first !== undefined) {
    throw new InputLost([...new Set(lost.map((slice) => slice.task))], first.path, cause);
  }
}

/** What an exchange's writers say they wrote must be what its readers find. */
async function checkPartitions(connection: EngineConnection, relation: Relation): Promise<void> {
  for (const stored of storedOf(relation)) {
    const check = partitionCountSql(stored);
    if (check === undefined) continue;
    const found = await connection.count(check.sql, 'counting a partition');
    if (found !== check.expected) {
      const detail = `partition ${stored.partition} has ${found} rows and should have ${check.expected}`;
      throw new FsError('INTERNAL', detail);
    }
  }
}

/** Temporary views of one connection, which has no others: names cannot clash. */
class ViewMaker implements Views {
  readonly #connection: EngineConnection;
  readonly #doing: string;
  readonly #statements: string[] = [];

  constructor(connection: EngineConnection, task: string) {
    this.#connection = connection;
    this.#doing = `task ${task}`;
  }

  add(select: string, name = `__catena_input_${this.#statements.length}`): string {
    this.#statements.push(`CREATE TEMP VIEW ${quoteName(name)} AS SELECT * FROM ${asSubquery(select)}`);
    return quoteName(name);
  }

  async create(): Promise<void> {
    for (const statement of this.#statements) await this.#connection.run(statement, this.#doing);
  }
}
