// What one operation sees and does: reads go through its own changes, the overlay and the store; writes stay
// here until the owner commits them into a batch. An operation that throws leaves nothing behind. Remembers
// the newest batch whose effects were seen, because the answer is held until that batch is committed (P14).
import { strict as assert } from 'node:assert';
import type { message } from '@catena/core';
import { collisionsMax } from '../limits.ts';
import type { Entry } from './inode-codec.ts';
import * as keys from './keys.ts';
import type { Session } from './open-files.ts';
import type { Cell, Change } from './overlay.ts';
import { refusal } from './refusal.ts';
import type { State } from './state.ts';
import * as tables from './tables.ts';

type Table<Value> = tables.Table<Value>;

/** Hands out numbers that are never used twice. */
export interface Identifiers {
  /** The lower 48 bits of a new inode's id. */
  ordinal(): bigint;
  session(): bigint;
}

/** Thrown by a read of an inode whose truncation is not finished: the operation starts anew when it is (P19, P21). */
export class Parked {
  readonly inode: bigint;
  constructor(inode: bigint) {
    this.inode = inode;
  }
}

export interface FoundEntry extends Entry {
  readonly offset: bigint;
}
export interface ListedEntry {
  readonly offset: bigint;
  readonly entry: Entry;
}

export class Transaction {
  readonly #state: State;
  readonly #identifiers: Identifiers;
  readonly #changes = new Map<string, Change>();
  #opened: Session[] | undefined;
  #closed: Session[] | undefined;
  #truncating: bigint | undefined;
  #timesSet: { inode: bigint; atNs: bigint } | undefined;
  #fileCountDelta = 0n;
  /** Where the name that was looked for last, and is not there, would stand: most such names are made next. */
  #vacancy: { parent: bigint; name: Uint8Array; offset: bigint } | undefined;
  /** Number of the newest batch whose effects were read; 0 = only what the store holds. */
  seenBatch = 0;

  constructor(state: State, identifiers: Identifiers) {
    this.#state = state;
    this.#identifiers = identifiers;
  }

  get changes(): ReadonlyMap<string, Change> {
    return this.#changes;
  }
  /** Whether anything at all is to be kept, in the log or in memory. */
  get hasEffects(): boolean {
    return this.#changes.size > 0 || this.#opened !== undefined || this.#closed !== undefined;
  }
  /** The inode whose truncation this operation starts. */
  get truncationStarted(): bigint | undefined {
    return this.#truncating;
  }

  // ---- any record ----

  get<Value>(table: Table<Value>, key: string): Value | undefined {
    const own = this.#changes.get(key);
    if (own !== undefined) return own.value as Value | undefined;
    const cell = this.#state.overlay.get(key);
    if (cell !== undefined) {
      if (cell.batch > this.seenBatch) this.seenBatch = cell.batch;
      return cell.value as Value | undefined;
    }
    return this.#state.stored(table, key);
  }

  put<Value>(table: Table<Value>, key: string, value: Value): void {
    this.#changes.set(key, { table: table as Table<unknown>, value, batch: 0 });
  }

  remove<Value>(table: Table<Value>, key: string): void {
    this.#changes.set(key, { table: table as Table<unknown>, value: undefined, batch: 0 });
  }

  // ---- inodes ----

  /** Throws Parked while the inode's truncation is not finished. */
  inode(id: bigint): message.Inode | undefined {
    if (this.#state.truncating.size > 0 && this.#state.truncating.has(id)) throw new Parked(id);
    return this.get(tables.inodes, keys.inodeKey(id));
  }

  /** Also while it is being truncated: for listings, and for the end of the truncation itself. */
  inodeNow(id: bigint): message.Inode | undefined {
    return this.get(tables.inodes, keys.inodeKey(id));
  }

  putInode(inode: message.Inode): void {
    this.put(tables.inodes, keys.inodeKey(inode.id), inode);
  }

  addInode(inode: message.Inode): void {
    this.putInode(inode);
    this.#fileCountDelta += 1n;
  }

  removeInode(id: bigint): void {
    this.remove(tables.inodes, keys.inodeKey(id));
    this.#fileCountDelta -= 1n;
  }

  newOrdinal(): bigint {
    return this.#identifiers.ordinal();
  }

  get fileCount(): bigint {
    return this.#state.fileCount;
  }

  // ---- directory entries ----

  /**
   * Names with one hash stand in neighbouring slots without a gap, so that a lookup ends at the first empty one.
   * Where one in the middle goes, a tombstone stays: an entry of inode 0.
   */
  entry(parent: bigint, name: Uint8Array): FoundEntry | undefined {
    const first = this.#state.nameOffset(name);
    let vacant: bigint | undefined;
    for (let slot = 0; slot < collisionsMax; slot++) {
      const offset = first + BigInt(slot);
      const entry = this.#slot(parent, offset);
      if (entry === undefined || entry.inode === 0n) vacant ??= offset;
      if (entry === undefined) break;
      if (entry.inode !== 0n && entry.name.equals(name)) {
        return { name: entry.name, inode: entry.inode, type: entry.type, offset };
      }
    }
    this.#vacancy = vacant === undefined ? undefined : { parent, name, offset: vacant };
    return undefined;
  }

  /** The caller knows that the name does not exist. */
  addEntry(parent: bigint, entry: Entry): void {
    if (this.#vacancy?.parent !== parent || this.#vacancy.name !== entry.name) {
      const found = this.entry(parent, entry.name);
      assert(found === undefined, 'the name exists');
    }
    const offset = this.#vacancy?.offset;
    this.#vacancy = undefined;
    if (offset === undefined)
      throw refusal('NO_SPACE', `${collisionsMax} names of the directory have one hash`);
    this.put(tables.entries, keys.entryKey(parent, offset), entry);
  }

  removeEntry(parent: bigint, found: FoundEntry): void {
    this.#vacancy = undefined;
    let offset = found.offset;
    const last = (offset | BigInt(collisionsMax - 1)) === offset;
    if (!last && this.#slot(parent, offset + 1n) !== undefined) {
      const tombstone: Entry = { name: Buffer.alloc(0), inode: 0n, type: 0 };
      this.put(tables.entries, keys.entryKey(parent, offset), tombstone);
      return;
    }
    this.remove(tables.entries, keys.entryKey(parent, offset));
    // Tombstones that nothing stands behind any more go, too.
    while (offset % BigInt(collisionsMax) !== 0n) {
      offset -= 1n;
      if (this.#slot(parent, offset)?.inode !== 0n) return;
      this.remove(tables.entries, keys.entryKey(parent, offset));
    }
  }

  /** The same name, from now on for another inode. */
  replaceEntry(parent: bigint, found: FoundEntry, inode: bigint, type: message.FileType): void {
    this.put(tables.entries, keys.entryKey(parent, found.offset), { name: found.name, inode, type });
  }

  #slot(parent: bigint, offset: bigint): Entry | undefined {
    return this.get(tables.entries, keys.entryKey(parent, offset));
  }

  /** Entries after `after` in the order of their offsets. Only for operations that change nothing. */
  *list(parent: bigint, after: bigint): Generator<ListedEntry> {
    assert(this.#changes.size === 0, 'a listing sees no changes of its own operation');
    const from = keys.entryKey(parent, after + 1n);
    const prefix = keys.entriesPrefix(parent);
    const above = this.#state.overlay.entries(prefix, from);
    const below = this.#state.store.range(from, keys.prefixEnd(prefix))[Symbol.iterator]();
    try {
      yield* this.#merged(above, below);
    } finally {
      below.return?.();
    }
  }

  *#merged(
    above: Iterator<readonly [string, Cell]>,
    below: Iterator<readonly [string, Uint8Array]>,
  ): Generator<ListedEntry> {
    let high = above.next();
    let low = below.next();
    while (high.done !== true || low.done !== true) {
      if (high.done !== true && (low.done === true || high.value[0] <= low.value[0])) {
        const [key, cell] = high.value;
        if (cell.batch > this.seenBatch) this.seenBatch = cell.batch;
        if (low.done !== true && low.value[0] === key) low = below.next();
        high = above.next();
        const entry = cell.value as Entry | undefined;
        if (entry !== undefined && entry.inode !== 0n) yield { offset: keys.lastNumber(key), entry };
      } else if (low.done !== true) {
        const [key, bytes] = low.value;
        const entry = tables.entries.decode(bytes);
        low = below.next();
        if (entry.inode !== 0n) yield { offset: keys.lastNumber(key), entry };
      }
    }
  }

  // ---- open files ----

  session(id: bigint): Session | undefined {
    return this.#state.openFiles.get(id);
  }
  sessionsOf(inode: bigint): ReadonlySet<Session> {
    return this.#state.openFiles.ofInode(inode);
  }

  openSession(inode: bigint, client: string, flags: number, logged: boolean): bigint {
    this.#state.openFiles.checkRoom(client);
    const session: Session = {
      id: this.#identifiers.session(),
      inode,
      client,
      flags,
      logged,
      timesSetNs: 0n,
    };
    this.#opened ??= [];
    this.#opened.push(session);
    if (logged) this.put(tables.sessions, keys.sessionKey(inode, session.id), session);
    return session.id;
  }

  closeSession(session: Session): void {
    this.#closed ??= [];
    this.#closed.push(session);
    if (session.logged) this.remove(tables.sessions, keys.sessionKey(session.inode, session.id));
  }

  /** Somebody set the file's times by hand: reports of earlier writes leave them alone. */
  timesWereSet(inode: bigint, atNs: bigint): void {
    this.#timesSet = { inode, atNs };
  }

  // ---- intents ----

  /** Nothing of the inode is served from now on, until the chunks are trimmed and `endTruncation` was committed. */
  startTruncation(intent: message.TruncateIntent): void {
    assert(this.#truncating === undefined, 'one operation truncates one file');
    this.put(tables.truncations, keys.truncationKey(intent.inode), intent);
    this.#truncating = intent.inode;
  }

  /** Its chunks may be removed as soon as this record is on the medium (P13). */
  addRemoval(inode: message.Inode): void {
    this.put(tables.removals, keys.removalKey(inode.id), removalOf(inode));
  }

  addOrphan(inode: message.Inode): void {
    this.put(tables.orphans, keys.orphanKey(inode.id), removalOf(inode));
  }

  // ---- for the owner ----

  /** Makes the effects visible to every later operation, as part of `batch`. */
  commit(batch: number, changed: Map<string, Change>): void {
    const { overlay, openFiles } = this.#state;
    for (const [key, change] of this.#changes) {
      change.batch = batch;
      overlay.set(key, change);
      changed.set(key, change);
    }
    if (this.#opened !== undefined) for (const session of this.#opened) openFiles.add(session);
    if (this.#closed !== undefined) for (const session of this.#closed) openFiles.remove(session);
    if (this.#truncating !== undefined) this.#state.truncating.add(this.#truncating);
    if (this.#timesSet !== undefined) {
      for (const session of openFiles.ofInode(this.#timesSet.inode)) session.timesSetNs = this.#timesSet.atNs;
    }
    this.#state.fileCount += this.#fileCountDelta;
  }
}

function removalOf(inode: message.Inode): message.RemovalIntent {
  return {
    recordVersion: tables.recordVersion,
    inode: inode.id,
    length: inode.length,
    layout: inode.layout,
  };
}
