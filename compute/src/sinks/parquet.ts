// A result directory of Parquet files. Attempts write into a hidden directory beside the destination; the
// files that the job log committed get their names, their rows are counted again, and one rename makes the
// result visible as a whole.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { FsError, fromSystemError } from '@catena/core';
import type { EngineConnection } from '../engine/database.ts';
import { quoteList } from '../engine/sql-text.ts';
import type { TaskResult } from '../plan/task.ts';
import type { FileTransfer } from '../sources/file-transfer.ts';

export interface WriteOptions {
  /** Replace what is there; without it an existing result is an error. */
  readonly overwrite?: boolean;
}

export interface Written {
  readonly path: string;
  readonly files: readonly string[];
  readonly rows: number;
  readonly bytes: number;
  /** Bytes that went through a FileTransfer. */
  readonly bytesCopied: number;
}

/** The run that writes, and its driver. */
export interface Writer {
  /** Unique to the run, and the same after a restart of its driver. */
  readonly name: string;
  /** Of the driver: each has a staging directory of its own, so that none can meddle with its successor's. */
  readonly epoch: number;
  /** FENCED if another driver has taken the job over. */
  readonly check: () => void;
}

const manifestName = '.manifest.json';

export class ParquetSink {
  /** Where attempts write. */
  readonly staging: string;
  readonly #path: string;
  readonly #overwrite: boolean;
  readonly #transfer: FileTransfer | undefined;
  readonly #writer: Writer;

  /**
   * What earlier drivers of this run have staged is moved to `staging`. `scratch` is used with a FileTransfer only.
   */
  static async open(
    path: string,
    writer: Writer,
    scratch: string,
    options: WriteOptions,
    transfer: FileTransfer | undefined,
  ): Promise<ParquetSink> {
    const sink = new ParquetSink(path, writer, scratch, options, transfer);
    await sink.#prepare();
    return sink;
  }

  private constructor(
    path: string,
    writer: Writer,
    scratch: string,
    options: WriteOptions,
    transfer: FileTransfer | undefined,
  ) {
    this.#path = transfer === undefined ? resolve(path) : posix.resolve('/', path);
    this.#overwrite = options.overwrite === true;
    this.#transfer = transfer;
    this.#writer = writer;
    const staging = this.#beside('staging') + epochSuffix(writer.epoch);
    this.staging = transfer === undefined ? staging : join(scratch, `output${basename(staging)}`);
  }

  /** FENCED, with nothing published, if another driver has taken the job over. */
  async commit(connection: EngineConnection, results: readonly TaskResult[]): Promise<Written> {
    this.#writer.check();
    const names = results.map((_result, index) => `part-${String(index).padStart(5, '0')}.parquet`);
    const rows = results.reduce((sum, result) => sum + result.rows, 0);
    const bytes = results.reduce((sum, result) => sum + result.bytes, 0);
    guard(this.#path, () => {
      results.forEach((result, index) => {
        renameSync(result.file, join(this.staging, names[index]!));
      });
      const kept = new Set(names);
      // Files of attempts that lost.
      for (const other of readdirSync(this.staging)) {
        if (!kept.has(other)) rmSync(join(this.staging, other), { recursive: true, force: true });
      }
    });
    await this.#countAgain(connection, names, rows);
    const files = names.map((name, index) => ({
      name,
      rows: results[index]!.rows,
      bytes: results[index]!.bytes,
    }));
    guard(this.#path, () => {
      writeFileSync(join(this.staging, manifestName), `${JSON.stringify({ rows, files })}\n`, {
        flush: true,
      });
      flushDirectory(this.staging);
    });
    const transfer = this.#transfer;
    const bytesCopied = transfer === undefined ? this.#publish() : await this.#publishTo(transfer, names);
    return { path: this.#path, files: names, rows, bytes, bytesCopied };
  }

  /** Leaves nothing of this driver behind. What a successor works with has its successor's name. */
  async abandon(): Promise<void> {
    rmSync(this.staging, { recursive: true, force: true });
    await this.#transfer?.remove(this.#remoteStaging).catch(() => undefined);
  }

  async #prepare(): Promise<void> {
    const parent = dirname(this.#path);
    const above = await this.#look(parent);
    if (above?.isDirectory !== true) {
      throw new FsError('NOT_FOUND', `${this.#path}: directory ${parent} does not exist; create it first`);
    }
    this.#writer.check();
    await this.#settleReplaced();
    const there = await this.#look(this.#path);
    if (there !== undefined && !(there.isDirectory && there.isEmpty) && !this.#overwrite) {
      throw new FsError('EXISTS', `${this.#path}; give another path, or pass overwrite: true`);
    }
    await this.#takeOver();
  }

  /**
   * A driver that was killed while it replaced a result has left the old one beside the path: back with it, or away
   * if the new one is there.
   */
  async #settleReplaced(): Promise<void> {
    const old = this.#beside('old');
    // In this order: a driver that lives may begin to replace between the two looks.
    if ((await this.#look(old)) === undefined) return;
    const isReplaced = (await this.#look(this.#path)) !== undefined;
    const transfer = this.#transfer;
    if (transfer !== undefined) {
      await (isReplaced ? transfer.remove(old) : transfer.rename(old, this.#path));
      return;
    }
    guard(this.#path, () => {
      if (isReplaced) rmSync(old, { recursive: true, force: true });
      else renameSync(old, this.#path);
    });
  }

  /**
   * Makes `staging` of what other drivers of this run have left. Each directory is taken by one rename: should its
   * driver live, and be about to publish it, then that rename fails, or came first and has published all of it.
   */
  async #takeOver(): Promise<void> {
    const transfer = this.#transfer;
    const local = guard(this.#path, () => this.#leftBy(readdirSync(dirname(this.staging)), this.staging));
    const remote =
      transfer === undefined
        ? []
        : this.#leftBy(
            (await transfer.list(dirname(this.#path))).map((entry) => entry.name),
            this.#remoteStaging,
          );
    // Of what was there before this, nothing belongs to a younger driver of this log.
    this.#writer.check();
    guard(this.#path, () => {
      const [youngest, ...others] = local;
      if (youngest !== undefined) take(youngest, this.staging);
      mkdirSync(this.staging, { recursive: true });
      // Attempts that ended after their driver was taken over: they go with those that lost.
      for (const other of others) take(other, join(this.staging, basename(other)));
    });
    for (const other of remote) {
      await transfer?.rename(other, this.#remoteStaging).catch(ignoreMissing);
      await transfer?.remove(this.#remoteStaging);
    }
  }

  /** Of these names beside `staging` those that other epochs of this run made, as paths, the youngest first. */
  #leftBy(names: readonly string[], staging: string): string[] {
    const own = basename(staging);
    const stem = own.slice(0, -epochSuffix(this.#writer.epoch).length);
    const epochOf = (name: string): number => Number(/^-epoch-(\d+)$/.exec(name.slice(stem.length))?.[1]);
    return names
      .filter((name) => name.startsWith(stem) && epochOf(name) > 0 && name !== own)
      .sort((left, right) => epochOf(right) - epochOf(left))
      .map((name) => join(dirname(staging), name));
  }

  async #look(path: string): Promise<{ isDirectory: boolean; isEmpty: boolean } | undefined> {
    const transfer = this.#transfer;
    if (transfer !== undefined) {
      const found = await transfer.stat(path);
      if (found === undefined) return undefined;
      return {
        isDirectory: found.isDirectory,
        isEmpty: found.isDirectory && (await transfer.list(path)).length === 0,
      };
    }
    return guard(path, () => {
      const found = statSync(path, { throwIfNoEntry: false });
      if (found === undefined) return undefined;
      return {
        isDirectory: found.isDirectory(),
        isEmpty: found.isDirectory() && readdirSync(path).length === 0,
      };
    });
  }

  async #countAgain(connection: EngineConnection, names: readonly string[], rows: number): Promise<void> {
    const paths = names.map((name) => join(this.staging, name));
    const sql = `SELECT coalesce(sum(num_rows), 0)::BIGINT FROM parquet_file_metadata(${quoteList(paths)})`;
    const found = await connection.count(sql, `checking ${this.#path}`);
    if (found !== rows) {
      throw new FsError('CORRUPT', `${this.#path}: its files have ${found} rows, its tasks wrote ${rows}`);
    }
  }

  #beside(what: string): string {
    return join(dirname(this.#path), `.${basename(this.#path)}.${what}-${this.#writer.name}`);
  }

  /** With a FileTransfer: where the files are copied before they are published. */
  get #remoteStaging(): string {
    return this.#beside('staging') + epochSuffix(this.#writer.epoch);
  }

  #publish(): number {
    guard(this.#path, () => {
      const old = this.#beside('old');
      this.#writer.check();
      const replaced = existsSync(this.#path);
      // Between these two renames there is no result at the path; a crash leaves both, hidden, and neither
      // lost.
      if (replaced) renameSync(this.#path, old);
      try {
        this.#writer.check();
        renameSync(this.staging, this.#path);
      } catch (error) {
        if (replaced && !existsSync(this.#path)) renameSync(old, this.#path);
        throw error;
      }
      flushDirectory(dirname(this.#path));
      if (replaced) rmSync(old, { recursive: true, force: true });
    });
    return 0;
  }

  async #publishTo(transfer: FileTransfer, names: readonly string[]): Promise<number> {
    const remote = this.#remoteStaging;
    await transfer.remove(remote);
    await transfer.makeDirectory(remote);
    let copied = 0;
    for (const name of [...names, manifestName]) {
      copied += await transfer.store(join(this.staging, name), posix.join(remote, name));
    }
    const old = this.#beside('old');
    const replaced = (await transfer.stat(this.#path)) !== undefined;
    this.#writer.check();
    if (replaced) await transfer.rename(this.#path, old);
    try {
      this.#writer.check();
      await transfer.rename(remote, this.#path);
    } catch (error) {
      if (replaced && (await transfer.stat(this.#path)) === undefined) await transfer.rename(old, this.#path);
      throw error;
    }
    if (replaced) await transfer.remove(old);
    rmSync(this.staging, { recursive: true, force: true });
    return copied;
  }
}

function epochSuffix(epoch: number): string {
  return `-epoch-${epoch}`;
}

/** In place of whatever is at `to`. Nothing there: its driver has published or removed it. */
function take(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  try {
    renameSync(from, to);
  } catch (error) {
    ignoreMissing(fromSystemError(error, from));
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof FsError && error.code === 'NOT_FOUND')) throw error;
}

function flushDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function guard<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw fromSystemError(error, path);
  }
}
