// SQL jobs next to their data: sessions, lazy frames in partitions, and whole queries, on DuckDB workers.
export type { Row, Value } from './engine/database.ts';
export { type Json, jsonRows } from './engine/json.ts';
export { type PlainAnswer, plainDuckDb } from './engine/plain.ts';
export { LocalPlatform } from './platforms/local.ts';
export type { Platform, WorkerStart } from './platforms/platform.ts';
export { DataFrame, type RepartitionOptions, type RunOptions } from './session/data-frame.ts';
export type { SessionOptions } from './session/job.ts';
export { asText, type RunSqlOptions, runSql, type SqlAnswer, tableText } from './session/run-sql.ts';
export { connect, type ReadParquetOptions, Session } from './session/session.ts';
export type { WriteOptions, Written } from './sinks/parquet.ts';
export { DirectoryTransfer } from './sources/directory-transfer.ts';
export type { FileTransfer, RemoteEntry } from './sources/file-transfer.ts';
export type { WorkerInfo } from './worker/hub.ts';
