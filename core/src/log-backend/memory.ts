// The log in memory: for tests and simulation. It can lose power: what was not flushed is gone.
import { strict as assert } from 'node:assert';
import { FsError } from '../errors.ts';
import { type AppendLog, type LogFloor, type LogRecord, logRecordBytesMax, noFloor } from './append-log.ts';

/** What survives: handed to the next opening. */
export class MemoryLogMedium {
  records: LogRecord[] = [];
  epoch = 0n;
  last = 0n;
  flushed = 0n;

  /** What a power failure leaves. */
  losePower(): void {
    this.records = this.records.filter((record) => record.number <= this.flushed);
    this.last = this.flushed;
  }
}

export function openMemoryLog(medium: MemoryLogMedium, floor: LogFloor = noFloor): AppendLog {
  medium.epoch = (floor.epoch > medium.epoch ? floor.epoch : medium.epoch) + 1n;
  if (floor.number > medium.last) medium.last = floor.number;
  medium.flushed = medium.last; // opening a log makes what it found permanent, as the local one does
  return new MemoryLog(medium);
}

class MemoryLog implements AppendLog {
  readonly epoch: bigint;
  readonly #medium: MemoryLogMedium;
  #open = true;

  constructor(medium: MemoryLogMedium) {
    this.#medium = medium;
    this.epoch = medium.epoch;
  }

  get appended(): bigint {
    return this.#medium.last;
  }
  get flushed(): bigint {
    return this.#medium.flushed;
  }

  async append(bodies: readonly Uint8Array[]): Promise<bigint> {
    this.#check();
    for (const body of bodies) assert(body.length <= logRecordBytesMax, `a record of ${body.length} bytes`);
    for (const body of bodies) {
      const number = ++this.#medium.last;
      this.#medium.records.push({ number, epoch: this.epoch, body: Buffer.from(body) });
    }
    return this.#medium.last;
  }

  async flush(): Promise<bigint> {
    this.#check();
    this.#medium.flushed = this.#medium.last;
    return this.#medium.flushed;
  }

  async *read(from: bigint): AsyncIterable<LogRecord> {
    let next = from;
    for (;;) {
      this.#check();
      const record = this.#medium.records.find((candidate) => candidate.number >= next);
      if (record === undefined) return;
      next = record.number + 1n;
      yield record;
    }
  }

  async trim(below: bigint): Promise<void> {
    this.#check();
    this.#medium.records = this.#medium.records.filter((record) => record.number >= below);
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    await this.flush();
    this.#open = false;
  }

  #check(): void {
    if (!this.#open || this.epoch !== this.#medium.epoch) throw new FsError('IO', 'the log is closed');
  }
}
