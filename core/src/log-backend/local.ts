// The log as segment files in one directory (P15). An append is one write, so that it survives this process;
// the medium gets it at the next flush, at most `flushIntervalMs` later. Opening cuts everything from the
// first bad record on, and starts a new segment under a new epoch. A failed flush is never retried (Linux has
// marked the pages clean): the log is dead from then on.
import { strict as assert } from 'node:assert';
import {
  closeSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { FsError, fromSystemError } from '../errors.ts';
import { type Logger, silentLogger } from '../log.ts';
import type { SpaceReserve } from '../space-reserve.ts';
import { type AppendLog, type LogFloor, type LogRecord, logRecordBytesMax, noFloor } from './append-log.ts';
import {
  encodeRecords,
  encodeSegmentHeader,
  scanSegment,
  segmentName,
  segmentNamePattern,
} from './segment.ts';

export interface LocalLogOptions {
  directory: string;
  clock: Clock;
  log?: Logger;
  floor?: LogFloor;
  /** A segment is closed when it has grown beyond this: trimming drops whole segments. */
  segmentBytes?: number;
  /** P15 and design §5: records reach the medium within this time without being asked for. */
  flushIntervalMs?: number;
  /** What appends go on with when the disk is full (P8). */
  reserve?: SpaceReserve;
  /** Called once if the medium fails: nothing more will be promised, so the process should end. */
  onFailure?: (error: FsError) => void;
}

interface Segment {
  readonly name: string;
  readonly first: bigint;
  last: bigint;
}

/** The caller holds the lock of the directory: one process at a time. */
export function openLocalLog(options: LocalLogOptions): AppendLog {
  try {
    mkdirSync(options.directory, { recursive: true });
    const found = recover(options.directory, options.log ?? silentLogger);
    return new LocalLog(options, found);
  } catch (error) {
    throw fromSystemError(error, `opening the log in ${options.directory}`);
  }
}

interface Recovered {
  readonly segments: Segment[];
  readonly last: bigint;
  readonly epoch: bigint;
}

/** Finds the good records, cuts what follows them. */
function recover(directory: string, log: Logger): Recovered {
  const names = readdirSync(directory)
    .filter((name) => segmentNamePattern.test(name))
    .sort();
  const segments: Segment[] = [];
  let last: bigint | undefined;
  let epoch = 0n;
  let cut = false;
  for (const name of names) {
    const path = join(directory, name);
    const bytes = readFileSync(path);
    const scan = scanSegment(bytes);
    const named = BigInt(name.slice(25, -4));
    if (named > epoch) epoch = named; // even of a file that is cut: an epoch is never used twice
    if (cut || scan === undefined || (last !== undefined && scan.header.previous !== last)) {
      log.warning('log.cut', { file: path, bytes: bytes.length });
      unlinkSync(path);
      cut = true;
      continue;
    }
    if (scan.goodBytes < bytes.length) {
      log.warning('log.cut', { file: path, bytes: bytes.length - scan.goodBytes, after: scan.last });
      truncateSync(path, scan.goodBytes);
      cut = true; // what stands in later files was written after the bytes that are lost
    }
    segments.push({ name, first: scan.header.first, last: scan.last });
    // One without records is dropped soon, and nobody's predecessor; but it says what stood before it.
    last = scan.records.length > 0 ? scan.last : (last ?? scan.header.previous);
  }
  for (const segment of segments) syncFile(join(directory, segment.name)); // what is replayed must not vanish later
  return { segments, last: last ?? 0n, epoch };
}

class LocalLog implements AppendLog {
  readonly epoch: bigint;
  readonly #options: LocalLogOptions;
  readonly #segmentBytes: number;
  readonly #flushIntervalMs: number;
  #segments: Segment[];
  #fd = -1;
  #fileBytes = 0;
  #appended: bigint;
  #flushed: bigint;
  #flushing: Promise<void> | undefined;
  #flushTimer: { cancel(): void } | undefined;
  #failure: FsError | undefined;

  constructor(options: LocalLogOptions, found: Recovered) {
    const floor = options.floor ?? noFloor;
    this.#options = options;
    this.#segmentBytes = options.segmentBytes ?? 16 << 20;
    this.#flushIntervalMs = options.flushIntervalMs ?? 50;
    this.#segments = found.segments;
    this.epoch = (floor.epoch > found.epoch ? floor.epoch : found.epoch) + 1n;
    this.#appended = floor.number > found.last ? floor.number : found.last;
    this.#flushed = this.#appended;
    this.#startSegment(found.last);
    this.#dropEmptySegments();
  }

  get appended(): bigint {
    return this.#appended;
  }
  get flushed(): bigint {
    return this.#flushed;
  }

  append(bodies: readonly Uint8Array[]): Promise<bigint> {
    try {
      return Promise.resolve(this.#append(bodies));
    } catch (error) {
      return Promise.reject(fromSystemError(error, `writing the log in ${this.#options.directory}`));
    }
  }

  async flush(): Promise<bigint> {
    const wanted = this.#appended;
    while (this.#flushed < wanted) {
      this.#check();
      this.#flushing ??= this.#flushOnce();
      await this.#flushing;
    }
    this.#check();
    return this.#flushed;
  }

  async *read(from: bigint): AsyncIterable<LogRecord> {
    let next = from;
    for (;;) {
      this.#check();
      const segment = this.#segments.find(
        (candidate) => candidate.last >= next && candidate.last >= candidate.first,
      );
      if (segment === undefined) return;
      const scan = scanSegment(await readFile(join(this.#options.directory, segment.name)));
      if (scan === undefined) throw new FsError('CORRUPT', `the log's file ${segment.name}`);
      const before = next;
      for (const record of scan.records) {
        if (record.number < next) continue;
        next = record.number + 1n;
        yield record;
      }
      // What was appended before is in the file; if it is not, the medium lost it while we were running.
      if (next === before) throw new FsError('CORRUPT', `record ${next} is missing in ${segment.name}`);
    }
  }

  async trim(below: bigint): Promise<void> {
    this.#check();
    try {
      while (this.#segments.length > 1 && this.#segments[0]!.last < below) {
        unlinkSync(join(this.#options.directory, this.#segments[0]!.name));
        this.#segments.shift();
      }
    } catch (error) {
      throw fromSystemError(error, `trimming the log in ${this.#options.directory}`);
    }
  }

  async close(): Promise<void> {
    if (this.#fd < 0) return;
    try {
      await this.flush();
    } finally {
      this.#flushTimer?.cancel();
      await this.#flushing?.catch(() => {});
      closeSync(this.#fd);
      this.#fd = -1;
    }
  }

  #append(bodies: readonly Uint8Array[]): bigint {
    this.#check();
    for (const body of bodies) assert(body.length <= logRecordBytesMax, `a record of ${body.length} bytes`);
    if (bodies.length === 0) return this.#appended;
    if (this.#fileBytes >= this.#segmentBytes && this.#flushing === undefined)
      this.#startSegment(this.#appended);
    const bytes = encodeRecords(bodies, this.#appended + 1n, this.epoch);
    try {
      let written = 0;
      while (written < bytes.length) {
        written += this.#withRoom(() =>
          writeSync(this.#fd, bytes, written, bytes.length - written, this.#fileBytes + written),
        );
      }
    } catch (error) {
      // A part may stand in the file: the next record must not follow it.
      this.#guard(() => ftruncateSync(this.#fd, this.#fileBytes));
      throw error;
    }
    this.#fileBytes += bytes.length;
    this.#appended += BigInt(bodies.length);
    this.#segments.at(-1)!.last = this.#appended;
    this.#flushSoon();
    return this.#appended;
  }

  /** All that was appended before is on the medium before the first byte of a new segment is written. */
  #startSegment(previous: bigint): void {
    this.#guard(() => {
      if (this.#fd >= 0) {
        fsyncSync(this.#fd);
        closeSync(this.#fd);
        this.#fd = -1;
        this.#flushed = this.#appended;
      }
      const first = this.#appended + 1n;
      const name = segmentName(first, this.epoch);
      const fd = this.#withRoom(() => openSync(join(this.#options.directory, name), 'wx', 0o600));
      const header = encodeSegmentHeader({ first, previous, epoch: this.epoch });
      assert(this.#withRoom(() => writeSync(fd, header, 0, header.length, 0)) === header.length);
      fsyncSync(fd);
      syncFile(this.#options.directory);
      this.#fd = fd;
      this.#fileBytes = header.length;
      this.#segments.push({ name, first, last: this.#appended });
    });
  }

  /** Openings without appends leave segments without records; one of them must not pile up per opening. */
  #dropEmptySegments(): void {
    const newest = this.#segments.at(-1)!;
    this.#segments = this.#segments.filter((segment) => {
      if (segment === newest || segment.last >= segment.first) return true;
      unlinkSync(join(this.#options.directory, segment.name));
      return false;
    });
  }

  #flushSoon(): void {
    this.#flushTimer ??= this.#options.clock.timer(
      this.#flushIntervalMs,
      () => {
        this.#flushTimer = undefined;
        if (this.#fd >= 0 && this.#flushed < this.#appended) this.flush().catch(() => {}); // said by onFailure
      },
      { background: true },
    );
  }

  #flushOnce(): Promise<void> {
    const covers = this.#appended;
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => {
        this.#flushing = undefined;
        if (error === null) {
          if (covers > this.#flushed) this.#flushed = covers;
          resolve();
          return;
        }
        reject(this.#fail(error));
      });
    });
  }

  #withRoom<T>(act: () => T): T {
    const { reserve } = this.#options;
    return reserve === undefined ? act() : reserve.withRoom(act);
  }

  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      throw this.#fail(error);
    }
  }

  #fail(error: unknown): FsError {
    const first = this.#failure === undefined;
    this.#failure ??= fromSystemError(error, `the log in ${this.#options.directory} failed`);
    if (first) this.#options.onFailure?.(this.#failure);
    return this.#failure;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#fd < 0) throw new FsError('IO', 'the log is closed');
  }
}

/** Also of a directory: its names are then on the medium. */
function syncFile(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
