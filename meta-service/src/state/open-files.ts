// Who has which file open. In memory alone: sessions of write opens are rebuilt from their log records after a restart, those of
// read opens are reported again by the clients (P20). Bounded per client and altogether.
import { FsError } from '@catena/core';
import { openFilesMax, openFilesPerClientMax } from '../limits.ts';

export interface Session {
  readonly id: bigint;
  readonly inode: bigint;
  readonly client: string;
  /** As in open(2). */
  readonly flags: number;
  /** Has a record in the log: a write open. */
  readonly logged: boolean;
  /** When somebody last set the file's mtime by hand: a report of writes before that does not set it back. */
  timesSetNs: bigint;
}

const nobody: ReadonlySet<Session> = new Set();

export class OpenFiles {
  readonly #byId = new Map<bigint, Session>();
  readonly #byInode = new Map<bigint, Set<Session>>();
  readonly #byClient = new Map<string, Set<Session>>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: bigint): Session | undefined {
    return this.#byId.get(id);
  }
  ofInode(inode: bigint): ReadonlySet<Session> {
    return this.#byInode.get(inode) ?? nobody;
  }
  ofClient(client: string): ReadonlySet<Session> {
    return this.#byClient.get(client) ?? nobody;
  }

  /** Refuses one more than the limits allow. */
  checkRoom(client: string): void {
    if (this.ofClient(client).size >= openFilesPerClientMax || this.#byId.size >= openFilesMax) {
      throw new FsError('OVERLOADED', 'too many open files');
    }
  }

  add(session: Session): void {
    this.#byId.set(session.id, session);
    into(this.#byInode, session.inode, session);
    into(this.#byClient, session.client, session);
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
    outOf(this.#byInode, session.inode, session);
    outOf(this.#byClient, session.client, session);
  }
}

function into<Key>(index: Map<Key, Set<Session>>, key: Key, session: Session): void {
  const set = index.get(key);
  if (set === undefined) index.set(key, new Set([session]));
  else set.add(session);
}

function outOf<Key>(index: Map<Key, Set<Session>>, key: Key, session: Session): void {
  const set = index.get(key);
  set?.delete(session);
  if (set?.size === 0) index.delete(key);
}
