// etcd: a connection for election and leases, and the key-value store on it. Nothing is repeated by the library,
// whose retries may apply a write twice; an outcome that is not known is resolved here, by comparing positions.
// A store may be fenced: each of its writes compares the revision of a key (its owner's role), so that an owner
// that was deposed can never write again.
import { strict as assert } from 'node:assert';
import type { Etcd3 } from 'etcd3';
import { type Clock, sleep } from '../clock.ts';
import { FsError } from '../errors.ts';
import * as message from '../messages.ts';
import { type KeyRange, type KeyValueChange, type KeyValueStore, keyBytesMax } from './key-value-store.ts';
import { MemoryStoreMedium, openMemoryStore } from './memory.ts';

/** etcd answers within this or is taken for away. */
const callMs = 1_500;
const retryPauseMs = 100;
/** Less than what an etcd takes by default in one transaction: 128 operations, 1.5 MiB. */
const operationsMax = 100;
const transactionBytesMax = 1 << 20;
/** Keys of one answer when the state is read. */
const pageKeys = 1_000;

export interface EtcdEntry {
  readonly key: Buffer;
  readonly value: Buffer;
  /** Of the transaction that wrote it last; rises over the whole cluster. */
  readonly revision: bigint;
}

/** What must hold for a transaction: the key was last written by that revision; 0: there is no such key. */
export interface EtcdCondition {
  readonly key: Buffer;
  readonly revision: bigint;
}

export interface EtcdWrite {
  readonly key: Buffer;
  /** Absent: the key goes, and with `to` all keys from `key` up to it. */
  readonly value?: Uint8Array;
  readonly to?: Buffer;
  /** The key goes when this lease ends. */
  readonly lease?: string;
}

/** Every call is made once; UNREACHABLE: it may have happened or not. */
export class Etcd {
  readonly #client: Etcd3;
  readonly #clock: Clock;

  /** Connects on first use. `hosts`: URLs of the members. */
  static async open(hosts: readonly string[], clock: Clock): Promise<Etcd> {
    const [{ Etcd3 }, { noop }] = await Promise.all([import('etcd3'), import('cockatiel')]);
    const faultHandling = { global: noop, host: () => noop };
    return new Etcd(new Etcd3({ hosts: [...hosts], dialTimeout: callMs, faultHandling }), clock);
  }

  private constructor(client: Etcd3, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  close(): void {
    this.#client.close();
  }

  async get(key: Buffer): Promise<EtcdEntry | undefined> {
    return (await this.#range({ key })).entries[0];
  }

  /** All keys with this prefix, as of one revision. */
  async list(prefix: Buffer): Promise<EtcdEntry[]> {
    const all: EtcdEntry[] = [];
    const rangeEnd = prefixEnd(prefix);
    let [from, revision] = [prefix, '0'];
    for (;;) {
      const page = await this.#range({ key: from, range_end: rangeEnd, limit: pageKeys, revision });
      all.push(...page.entries);
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return all;
      from = Buffer.concat([last.key, Buffer.alloc(1)]);
      revision = page.revision;
    }
  }

  /** Whether the conditions held and everything was written. */
  async write(conditions: readonly EtcdCondition[], writes: readonly EtcdWrite[]): Promise<boolean> {
    const request = {
      compare: conditions.map(({ key, revision }) => ({
        key,
        result: 'Equal' as const,
        target: 'Mod' as const,
        mod_revision: revision.toString(),
      })),
      success: writes.map(({ key, value, to, lease }) => {
        if (value === undefined)
          return { request_delete_range: to === undefined ? { key } : { key, range_end: to } };
        const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
        return { request_put: lease === undefined ? { key, value: bytes } : { key, value: bytes, lease } };
      }),
    };
    const { succeeded } = await this.#call((options) => this.#client.kv.txn(request, options));
    return succeeded;
  }

  /** A new lease; it ends `ttlSeconds` after the last time that it was kept alive. */
  async grantLease(ttlSeconds: number): Promise<{ id: string; ttlSeconds: number }> {
    const granted = await this.#call((options) =>
      this.#client.leaseClient.leaseGrant({ TTL: ttlSeconds }, options),
    );
    return { id: granted.ID, ttlSeconds: Number(granted.TTL) };
  }

  /** Seconds that the lease goes on from now; 0: it has ended. */
  keepAlive(lease: string): Promise<number> {
    return this.#call(async (options) => {
      const stream = await this.#client.leaseClient.leaseKeepAlive(options);
      try {
        return await new Promise<number>((resolve, reject) => {
          stream.on('data', (answer) => resolve(Number(answer.TTL)));
          stream.on('error', reject);
          stream.on('end', () => reject(new Error('the stream ended')));
          stream.write({ ID: lease });
        });
      } finally {
        stream.end();
        stream.cancel();
      }
    });
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#call((options) => this.#client.leaseClient.leaseRevoke({ ID: lease }, options));
  }

  async #range(request: object): Promise<{ entries: EtcdEntry[]; more: boolean; revision: string }> {
    const answer = await this.#call((options) => this.#client.kv.range(request, options));
    const entries = answer.kvs.map(({ key, value, mod_revision }) => ({
      key,
      value,
      revision: BigInt(mod_revision),
    }));
    return { entries, more: answer.more, revision: answer.header.revision };
  }

  async #call<T>(run: (options: { deadline: number }) => Promise<T>): Promise<T> {
    try {
      // gRPC takes points of wall time; a clock that is set meanwhile makes one call late or early.
      return await run({ deadline: Number(this.#clock.wallNs() / 1_000_000n) + callMs });
    } catch (error) {
      throw new FsError('UNREACHABLE', `etcd: ${String(error)}`, { cause: error });
    }
  }
}

export interface EtcdStoreOptions {
  /** Everything of the store is below it. */
  readonly prefix: string;
  readonly clock: Clock;
  /** Writes happen only while this holds. */
  readonly fence?: EtcdCondition;
  /** Ends the repetition of a write whose outcome is not known: nobody will need it any more. */
  readonly signal?: AbortSignal;
}

/** The whole state is read once and kept in memory: there is one writer, so it stays right. */
export async function openEtcdStore(etcd: Etcd, options: EtcdStoreOptions): Promise<KeyValueStore> {
  const names = namesBelow(options.prefix);
  const store = new EtcdStore(etcd, names, options);
  await store.load();
  return store;
}

interface Names {
  readonly user: Buffer;
  readonly staged: Buffer;
  readonly position: Buffer;
  /** There, while a large write is decided and not yet carried out; its value is the position. */
  readonly decided: Buffer;
}

function namesBelow(prefix: string): Names {
  const name = (rest: string): Buffer => Buffer.from(`${prefix}/${rest}`);
  return {
    user: name('key/'),
    staged: name('staged/'),
    position: name('position'),
    decided: name('decided'),
  };
}

class EtcdStore implements KeyValueStore {
  readonly #etcd: Etcd;
  readonly #names: Names;
  readonly #options: EtcdStoreOptions;
  readonly #memory: KeyValueStore;
  #queued = 0n;
  /** Of the key that holds the position. */
  #revision = 0n;
  #last: Promise<void> = Promise.resolve();
  #open = true;

  constructor(etcd: Etcd, names: Names, options: EtcdStoreOptions) {
    this.#etcd = etcd;
    this.#names = names;
    this.#options = options;
    this.#memory = openMemoryStore(new MemoryStoreMedium());
  }

  get position(): bigint {
    return this.#memory.position;
  }
  /** etcd answers when a majority of its members has it on the medium. */
  get flushedPosition(): bigint {
    return this.position;
  }

  async load(): Promise<void> {
    const decided = await this.#etcd.get(this.#names.decided);
    if (decided !== undefined) await this.#carryOut(decided.value.readBigUInt64BE(0), decided.revision);
    const position = await this.#etcd.get(this.#names.position);
    const entries = await this.#etcd.list(this.#names.user);
    this.#revision = position?.revision ?? 0n;
    this.#queued = position?.value.readBigUInt64BE(0) ?? 0n;
    const changes = entries.map(({ key, value }) => ({ key: key.subarray(this.#names.user.length), value }));
    await this.#memory.write(changes, this.#queued);
  }

  get(key: Uint8Array): Buffer | undefined {
    this.#check();
    return this.#memory.get(key);
  }

  range(range: KeyRange): Iterable<readonly [Buffer, Buffer]> {
    this.#check();
    return this.#memory.range(range);
  }

  write(changes: readonly KeyValueChange[], position: bigint): Promise<void> {
    this.#check();
    assert(position >= this.#queued, 'the position went back');
    for (const { key } of changes)
      assert(key.length > 0 && key.length <= keyBytesMax, `a key of ${key.length} bytes`);
    this.#queued = position;
    const done = this.#last.then(async () => {
      await this.#write(writesOf(this.#names.user, changes), position);
      await this.#memory.write(changes, position);
    });
    // After a failure the state in etcd is not known here: nothing may follow.
    this.#last = done;
    done.catch(() => {});
    return done;
  }

  async flush(): Promise<void> {
    this.#check();
    await this.#last;
  }

  async close(): Promise<void> {
    this.#open = false;
    await this.#last.catch(() => {});
  }

  async #write(writes: readonly EtcdWrite[], position: bigint): Promise<void> {
    const batches = batchesOf(writes);
    const [only] = batches;
    const at = { key: this.#names.position, value: numberBytes(position) };
    if (batches.length <= 1) {
      this.#revision = await this.#commit([...(only ?? []), at], this.#names.position, this.#revision);
      return;
    }
    // Too much for one transaction: staged beside the state, decided by one key, then carried out.
    await this.#commit([{ key: this.#names.staged, to: prefixEnd(this.#names.staged) }]);
    for (const [index, batch] of batches.entries()) {
      await this.#commit([{ key: stagedKey(this.#names, index), value: encodeStaged(batch) }]);
    }
    const decided = { key: this.#names.decided, value: numberBytes(position) };
    await this.#carryOut(position, await this.#commit([decided], this.#names.decided, 0n));
  }

  /** Every step can be made again, also by the next owner. */
  async #carryOut(position: bigint, decidedRevision: bigint): Promise<void> {
    for (const { value } of await this.#repeat(() => this.#etcd.list(this.#names.staged))) {
      await this.#commit(decodeStaged(value));
    }
    const before = await this.#repeat(() => this.#etcd.get(this.#names.position));
    const end = [
      { key: this.#names.position, value: numberBytes(position) },
      { key: this.#names.decided },
      { key: this.#names.staged, to: prefixEnd(this.#names.staged) },
    ];
    assert(decidedRevision > (before?.revision ?? 0n), 'what was decided is newer than the state');
    this.#revision = await this.#commit(end, this.#names.position, before?.revision ?? 0n);
  }

  /**
   * One transaction under the fence, repeated until its outcome is known. With `marker`: once, if that key is of
   * this revision; returns the key's new one. Without: it may be made again without harm.
   */
  async #commit(writes: readonly EtcdWrite[], marker?: Buffer, revision = 0n): Promise<bigint> {
    const { fence } = this.#options;
    const conditions = fence === undefined ? [] : [fence];
    if (marker !== undefined) conditions.push({ key: marker, revision });
    const written = await this.#repeat(() => this.#etcd.write(conditions, writes));
    if (fence !== undefined && !written) {
      const owner = await this.#repeat(() => this.#etcd.get(fence.key));
      if (owner?.revision !== fence.revision) {
        throw new FsError('NOT_PRIMARY', 'another process has taken over; nothing was written');
      }
    }
    if (marker === undefined) {
      assert(written, 'only the fence is compared');
      return 0n;
    }
    const now = await this.#repeat(() => this.#etcd.get(marker));
    // Not written by this try: by an earlier one, whose answer was lost.
    const mine = writes.find((write) => write.key.equals(marker))?.value;
    const same = now !== undefined && mine !== undefined && now.value.equals(mine) && now.revision > revision;
    if (!written && !same)
      throw new FsError('CORRUPT', `etcd: somebody else writes below ${this.#options.prefix}`);
    return now?.revision ?? 0n;
  }

  async #repeat<T>(act: () => Promise<T>): Promise<T> {
    const { clock, signal } = this.#options;
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'UNREACHABLE') throw error;
        if (signal?.aborted === true) throw new FsError('CANCELLED', 'a write to etcd', { cause: error });
        await sleep(clock, retryPauseMs);
      }
    }
  }

  #check(): void {
    if (!this.#open) throw new FsError('IO', 'the store is closed');
  }
}

/** The last change of each key: etcd refuses a key twice in one transaction. */
function writesOf(prefix: Buffer, changes: readonly KeyValueChange[]): EtcdWrite[] {
  const newest = new Map<string, EtcdWrite>();
  for (const { key, value } of changes) {
    const name = Buffer.concat([prefix, key]);
    newest.set(name.toString('latin1'), value === undefined ? { key: name } : { key: name, value });
  }
  return [...newest.values()];
}

function batchesOf(writes: readonly EtcdWrite[]): EtcdWrite[][] {
  const batches: EtcdWrite[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const write of writes) {
    const size = write.key.length + (write.value?.length ?? 0);
    const batch = batches.at(-1);
    if (batch === undefined || batch.length >= operationsMax || bytes + size > transactionBytesMax) {
      batches.push([write]);
      bytes = size;
    } else {
      batch.push(write);
      bytes += size;
    }
  }
  return batches;
}

function stagedKey(names: Names, index: number): Buffer {
  return Buffer.concat([names.staged, Buffer.from(index.toString().padStart(8, '0'))]);
}

function encodeStaged(batch: readonly EtcdWrite[]): Uint8Array {
  const changes = batch.map(({ key, value }) => ({
    key,
    value: value === undefined ? undefined : Buffer.from(value),
  }));
  return message.LogRecord.encode(message.LogRecord.fromPartial({ recordVersion: 1, changes })).finish();
}

function decodeStaged(bytes: Buffer): EtcdWrite[] {
  return message.LogRecord.decode(bytes).changes.map(({ key, value }) =>
    value === undefined ? { key } : { key, value },
  );
}

/** The first key behind all that begin with it. */
function prefixEnd(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1]! += 1; // our prefixes end with a slash
  return end;
}

function numberBytes(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}
