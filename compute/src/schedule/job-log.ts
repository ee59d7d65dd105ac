// The driver's log of one job: an append-only file, the only place where a task's result becomes true. Each
// line has a checksum and the epoch of its driver. Taking the job over raises the epoch; a driver of a lower
// one finds out at its next append, because the order of lines in the one file decides, not a clock.
import { strict as assert } from 'node:assert';
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { FsError, fromSystemError, type Random } from '@catena/core';
import type { TaskResult } from '../plan/task.ts';

export type JobRecord =
  | { readonly kind: 'open'; readonly nonce: string; readonly pid: number }
  | { readonly kind: 'run'; readonly run: number; readonly fingerprint: string; readonly tasks: number }
  | {
      readonly kind: 'result';
      readonly run: number;
      readonly task: string;
      readonly attempt: number;
      readonly result: TaskResult;
    }
  | { readonly kind: 'lost'; readonly run: number; readonly task: string }
  | { readonly kind: 'end'; readonly run: number; readonly error: string };

interface Line {
  readonly epoch: number;
  readonly record: JobRecord;
}

export interface RecoveredRun {
  readonly fingerprint: string;
  readonly results: ReadonlyMap<string, TaskResult>;
  readonly ended: boolean;
}

export class JobLog {
  readonly epoch: number;
  /** What earlier epochs committed, by the number of the run. */
  readonly recovered: ReadonlyMap<number, RecoveredRun>;
  readonly #path: string;
  readonly #fd: number;
  /** Where this driver has read to. */
  #position: number;
  /** The highest epoch seen. */
  #fencedBy = 0;

  static open(path: string, random: Random): JobLog {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600);
    const nonce = random.bytes(16).toString('hex');
    for (;;) {
      const { lines, torn } = readLines(fd, path, 0);
      const epoch = lines.reduce((highest, line) => Math.max(highest, line.epoch), 0) + 1;
      // A torn line of a driver that died is closed by a line end, and read over from then on.
      writeLine(fd, { epoch, record: { kind: 'open', nonce, pid: process.pid } }, torn);
      const after = readLines(fd, path, 0);
      const first = after.lines.find((line) => line.epoch === epoch);
      const won = first?.record.kind === 'open' && first.record.nonce === nonce;
      if (won) return new JobLog(path, fd, epoch, after.lines);
    }
  }

  private constructor(path: string, fd: number, epoch: number, lines: readonly Line[]) {
    this.#path = path;
    this.#fd = fd;
    this.epoch = epoch;
    this.recovered = recover(lines);
    this.#position = fstatSync(fd).size;
  }

  /** FENCED if another driver has taken the job over: the record counts for nobody then. */
  append(record: JobRecord): void {
    if (this.#fencedBy > this.epoch) throw this.#fenced();
    try {
      writeLine(this.#fd, { epoch: this.epoch, record }, false);
      this.check();
    } catch (error) {
      throw fromSystemError(error, `job log ${this.#path}`);
    }
  }

  /** FENCED if another driver has taken the job over. */
  check(): void {
    const { lines, end } = readLines(this.#fd, this.#path, this.#position);
    this.#position = end;
    this.#fencedBy = lines.reduce((highest, line) => Math.max(highest, line.epoch), this.#fencedBy);
    if (this.#fencedBy > this.epoch) throw this.#fenced();
  }

  /** True if another driver has taken the job over: the job's files are its files now. */
  isFenced(): boolean {
    try {
      this.check();
      return false;
    } catch (error) {
      if (error instanceof FsError && error.code === 'FENCED') return true;
      throw error;
    }
  }

  #fenced(): FsError {
    return new FsError('FENCED', `job log ${this.#path}: epoch ${this.#fencedBy} has taken this job over`);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function writeLine(fd: number, line: Line, afterTorn: boolean): void {
  const text = JSON.stringify(line);
  const sum = crc32(text).toString(16).padStart(8, '0');
  const bytes = Buffer.from(`${afterTorn ? '\n' : ''}${sum} ${text}\n`);
  // One write: with O_APPEND it lands in one piece behind everything before it.
  const before = fstatSync(fd).size;
  const written = writeSync(fd, bytes);
  if (written !== bytes.length) {
    ftruncateSync(fd, before);
    throw new FsError('NO_SPACE', `a record of ${bytes.length} bytes was written only in part`);
  }
}

function readLines(fd: number, path: string, from: number): { lines: Line[]; end: number; torn: boolean } {
  const size = fstatSync(fd).size;
  const bytes = Buffer.alloc(size - from);
  for (let got = 0; got < bytes.length; ) {
    const count = readSync(fd, bytes, got, bytes.length - got, from + got);
    assert(count > 0, 'a log that shrinks');
    got += count;
  }
  const lines: Line[] = [];
  let start = 0;
  for (;;) {
    const newline = bytes.indexOf(0x0a, start);
    if (newline < 0) break;
    const line = parseLine(bytes.toString('utf8', start, newline), path);
    if (line !== undefined) lines.push(line);
    start = newline + 1;
  }
  return { lines, end: from + start, torn: start < bytes.length };
}

/** undefined for a torn line: its driver died before the write was whole, so nobody was told of it. */
function parseLine(text: string, path: string): Line | undefined {
  const body = text.slice(9);
  if (text.slice(0, 8) !== crc32(body).toString(16).padStart(8, '0')) return undefined;
  const line = JSON.parse(body) as Partial<Line>;
  if (typeof line.epoch !== 'number' || typeof line.record?.kind !== 'string') {
    throw new FsError('CORRUPT', `job log ${path}: a record without epoch or kind`);
  }
  return line as Line;
}

/** Lines of a lower epoch behind the first line of a higher one never happened. */
function recover(lines: readonly Line[]): Map<number, RecoveredRun> {
  const runs = new Map<number, { fingerprint: string; results: Map<string, TaskResult>; ended: boolean }>();
  let epoch = 0;
  for (const line of lines) {
    if (line.epoch < epoch) continue;
    epoch = line.epoch;
    const { record } = line;
    if (record.kind === 'open') continue;
    if (record.kind === 'run') {
      const known = runs.get(record.run);
      if (known?.fingerprint === record.fingerprint && !known.ended) continue;
      runs.set(record.run, { fingerprint: record.fingerprint, results: new Map(), ended: false });
      continue;
    }
    const run = runs.get(record.run);
    if (run === undefined) continue;
    if (record.kind === 'result') run.results.set(record.task, record.result);
    else if (record.kind === 'lost') run.results.delete(record.task);
    else run.ended = true;
  }
  return runs;
}
