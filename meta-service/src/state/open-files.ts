// Who has which file open. In memory alone: sessions that are logged are rebuilt from their records after a
// restart, the others, of read opens, are reported again by the clients (P20). Bounded per client and altogether.
import { FsError } from '@catena/core';
import { openFilesMax, openFilesPerClientMax } from '../limits.ts';

export interface Session {
  readonly id: bigint;
  readonly inode: bigint;
  readonly client: string;
  /** As in open(2). */
  readonly flags: number;
  /** Has a record in the log: a write open, or one that made or cut the file. */
  readonly logged: boolean;
  /** When somebody last set the file's mtime by hand: a report of writes before that does not set it back. */
  timesSetNs: bigint;
}

const nobody: ReadonlySet<Session> = new Set();

/** Most files are open once: a set of its own for each would be the larger part. */
type OneOrMore = Session | Set<Session>;

export class OpenFiles {
  readonly #byId = new Map<bigint, Session>();
  readonly #byInode = new Map<bigint, OneOrMore>();
  readonly #byClient = new Map<string, Set<Session>>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: bigint): Session | undefined {
    return this.#byId.get(id);
  }
  ofInode(inode: bigint): ReadonlySet<Session> {
    const found = this.#byInode.get(inode);
    if (found === undefined) return nobody;
    return found instanceof Set ? found : new Set([found]);
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
    const sameFile = this.#byInode.get(session.inode);
    if (sameFile === undefined) this.#byInode.set(session.inode, session);
    else if (sameFile instanceof Set) sameFile.add(session);
    else this.#byInode.set(session.inode, new Set([sameFile, session]));
    const sameClient = this.#byClient.get(session.client);
    if (sameClient === undefined) this.#byClient.set(session.client, new Set([session]));
    else sameClient.add(session);
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
    const sameFile = this.#byInode.get(session.inode);
    if (sameFile instanceof Set) sameFile.delete(session);
    if (sameFile === session || (sameFile instanceof Set && sameFile.size === 0)) {
      this.#byInode.delete(session.inode);
    }
    const sameClient = this.#byClient.get(session.client);
    sameClient?.delete(session);
    if (sameClient?.size === 0) this.#byClient.delete(session.client);
  }
}
