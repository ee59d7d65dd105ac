// The key-value store in LMDB. Overlapping sync is off and so is NOSYNC: a commit is on the medium when it is
// reported (the package would otherwise report it before), so that both positions are one and P16 can trust
// it. Each write is one transaction.
import { strict as assert } from 'node:assert';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'lmdb';
import { FsError, fromSystemError } from '../errors.ts';
import { type AllocateBlocks, reserveBytes } from '../space-reserve.ts';
import { type KeyRange, type KeyValueChange, type KeyValueStore, keyBytesMax } from './key-value-store.ts';

// Our own records: a prefix of zero keeps them apart from the caller's keys, which get a prefix of one.
const positionKey = Buffer.from([0, 1]);
const formatKey = Buffer.from([0, 0]);
const userPrefix = 1;
const format = 1n;

/** With `allocate` the file has blocks behind its end, so that it may still grow on a full disk (P8). */
export async function openLmdbStore(directory: string, allocate?: AllocateBlocks): Promise<KeyValueStore> {
  let database: Database<Buffer, Buffer>;
  try {
    const { open } = await import('lmdb'); // on first use: most processes have no such store
    database = open<Buffer, Buffer>({
      path: directory,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      overlappingSync: false,
      cache: false,
    });
  } catch (error) {
    throw new FsError('IO', `opening LMDB in ${directory}: ${String(error)}`, { cause: error });
  }
  const stored = database.get(formatKey);
  if (stored === undefined) {
    await database.put(formatKey, numberBytes(format));
  } else if (stored.readBigUInt64BE(0) > format) {
    await database.close();
    throw new FsError(
      'NEWER_DATA',
      `LMDB in ${directory} has format ${stored.readBigUInt64BE(0)}, known is ${format}`,
    );
  }
  const room = allocate && new RoomToGrow(join(directory, 'data.mdb'), allocate);
  return new LmdbStore(database, room);
}

class LmdbStore implements KeyValueStore {
  readonly #database: Database<Buffer, Buffer>;
  readonly #room: RoomToGrow | undefined;
  #position: bigint;
  #queued: bigint;
  #last: Promise<void> = Promise.resolve();
  #open = true;

  constructor(database: Database<Buffer, Buffer>, room: RoomToGrow | undefined) {
    this.#database = database;
    this.#room = room;
    room?.keep();
    this.#position = database.get(positionKey)?.readBigUInt64BE(0) ?? 0n;
    this.#queued = this.#position;
  }

  get position(): bigint {
    return this.#position;
  }
  get flushedPosition(): bigint {
    return this.#position;
  }

  get(key: Uint8Array): Buffer | undefined {
    this.#check();
    return this.#database.getBinary(prefixed(key));
  }

  *range(range: KeyRange): Iterable<readonly [Buffer, Buffer]> {
    this.#check();
    const found = this.#database.getRange({
      start: prefixed(range.from),
      end: prefixed(range.to),
      ...(range.limit === undefined ? {} : { limit: range.limit }),
    });
    for (const { key, value } of found) yield [key.subarray(1), value];
  }

  write(changes: readonly KeyValueChange[], position: bigint): Promise<void> {
    this.#check();
    assert(position >= this.#queued, 'the position went back');
    for (const { key } of changes)
      assert(key.length > 0 && key.length <= keyBytesMax, `a key of ${key.length} bytes`);
    this.#queued = position;
    // `batch` keeps its operations in one transaction, which is atomic.
    const committed = this.#database.batch(() => {
      for (const { key, value } of changes) {
        if (value === undefined) void this.#database.remove(prefixed(key));
        else void this.#database.put(prefixed(key), asBuffer(value));
      }
      void this.#database.put(positionKey, numberBytes(position));
    });
    const previous = this.#last;
    const done = committed.then(
      async () => {
        await previous;
        this.#position = position;
        this.#room?.keep();
      },
      (error: unknown) => {
        throw new FsError('IO', `LMDB: ${String(error)}`, { cause: error });
      },
    );
    this.#last = done.catch(() => {});
    return done;
  }

  async flush(): Promise<void> {
    this.#check();
    await this.#last;
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#last;
    try {
      await this.#database.close();
    } catch (error) {
      throw fromSystemError(error, 'closing LMDB');
    }
  }

  #check(): void {
    if (!this.#open) throw new FsError('IO', 'the store is closed');
  }
}

/** Allocated blocks behind the end of a file that grows. */
class RoomToGrow {
  readonly #path: string;
  readonly #allocate: AllocateBlocks;
  #allocatedTo = 0;

  constructor(path: string, allocate: AllocateBlocks) {
    this.#path = path;
    this.#allocate = allocate;
  }

  /** Allocates again when half of it is used up. On a full disk what is there must do, until there is more. */
  keep(): void {
    const { size } = statSync(this.#path);
    if (size + reserveBytes / 2 <= this.#allocatedTo) return;
    try {
      this.#allocate(this.#path, size, reserveBytes, true);
      this.#allocatedTo = size + reserveBytes;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      // Not asked for again before the file has grown by as much once more: a refusal costs time, too.
      this.#allocatedTo = size + reserveBytes;
    }
  }
}

function prefixed(key: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(key.length + 1);
  bytes[0] = userPrefix;
  bytes.set(key, 1);
  return bytes;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function numberBytes(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}
