// Clients that are gone: those whose fence holds (P4), or unheard of for the length of their lease where there
// is no manager. Their sessions are closed, files they were writing get the length that the chains
// know, their answers go. A restart begins anew with whoever is still there.
import type { Clock, Logger, message } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { unansweredMax } from '../limits.ts';
import { opensForWriting } from '../operations/operation.ts';
import { discardOrphan } from '../operations/removal.ts';
import { copyOf } from '../state/inode-codec.ts';
import { answerKey, clientKey, orphanKey, prefixEnd, tableTag } from '../state/keys.ts';
import type { Session } from '../state/open-files.ts';
import { answers, clients, orphans } from '../state/tables.ts';
import { Lanes, type Repeater } from './back-off.ts';
import type { ClientSession } from './clients.ts';
import type { Owner } from './owner.ts';

/** Files whose length is asked for at once. */
const queriesAtOnce = 8;

interface FoundLength {
  readonly length: bigint;
  readonly generation: bigint | undefined;
}

export interface DepartureOptions {
  readonly owner: Owner;
  readonly chunks: ChunkStore;
  readonly repeater: Repeater;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where there is no manager: who is silent for longer is gone. */
  readonly leaseMs: number;
  /** Whether a manager says who lives; then nobody else does. */
  readonly managed: boolean;
}

/** What routing says of clients, by id: a change, or the whole list. */
export interface ClientNews {
  readonly whole: boolean;
  readonly added: Iterable<string>;
  /** Fenced from now on: no more is taken of them. In a whole list: those whose fence does not hold yet. */
  readonly removed: Iterable<string>;
  /** Their fence holds everywhere: what they held is released (P4). */
  readonly fenced: Iterable<string>;
}

export class Departures {
  readonly #options: DepartureOptions;
  readonly #lanes: Lanes;
  /** Ids that the manager calls live; as many as routing carries. */
  #live = new Set<string>();

  constructor(options: DepartureOptions) {
    this.#options = options;
    this.#lanes = new Lanes(queriesAtOnce, options.repeater);
  }

  /** Whether a session may be made for this id. */
  admits(id: string): boolean {
    return !this.#options.managed || this.#live.has(id);
  }

  /** To be called about once a second. */
  expire(): void {
    const { owner, clock, leaseMs, managed } = this.#options;
    if (managed) return;
    const now = clock.nowMs();
    for (const client of owner.clients.values()) {
      if (!client.fenced && now - client.heardMs > leaseMs) this.#leave(client, 'its lease ran out');
    }
  }

  /** Who is fenced changes nothing any more; its sessions end when the fence holds on every storage server. */
  hear(news: ClientNews): void {
    const { clients } = this.#options.owner;
    const released = new Set(news.fenced);
    if (news.whole) {
      this.#live = new Set(news.added);
      const open = new Set(news.removed);
      for (const id of clients.keys()) if (!this.#live.has(id) && !open.has(id)) released.add(id);
    } else {
      for (const id of news.added) this.#live.add(id);
    }
    for (const id of news.removed) {
      this.#live.delete(id);
      const client = clients.get(id);
      if (client !== undefined) client.fenced = true;
    }
    for (const id of released) {
      const client = clients.get(id);
      if (client !== undefined) this.#leave(client, 'the manager fenced it');
    }
  }

  /** Files without a name that nobody has opened again since the restart (P20). */
  collectOrphans(): void {
    const { owner } = this.#options;
    const { state } = owner;
    const ids: bigint[] = [];
    for (const [, bytes] of state.store.range(tableTag.orphan, prefixEnd(tableTag.orphan))) {
      ids.push(orphans.decode(bytes).inode);
    }
    // One that is being truncated: nobody else would come back to it.
    for (const id of ids) owner.afterTruncation(id, () => this.#collectOrphan(id));
  }

  #collectOrphan(id: bigint): void {
    this.#options.owner.internal((transaction) => {
      if (transaction.get(orphans, orphanKey(id)) === undefined) return;
      const inode = transaction.inodeNow(id);
      if (inode === undefined || transaction.sessionsOf(id).size > 0) return;
      discardOrphan(transaction, inode);
    });
  }

  #leave(client: ClientSession, reason: string): void {
    if (client.leaving) return;
    const { owner, log } = this.#options;
    const sessions = [...owner.state.openFiles.ofClient(client.id)];
    log.info('client.end', {
      client: Buffer.from(client.id, 'latin1'),
      host: client.host,
      reason,
      sessions: sessions.length,
    });
    client.fenced = true;
    client.leaving = true;
    let left = sessions.length;
    const closed = (): void => {
      left--;
      if (left <= 0) this.#forget(client);
    };
    if (left === 0) this.#forget(client);
    for (const session of sessions) this.#closeLater(session, closed);
  }

  /** What the chains know of a file while it is truncated is the length of before: that waits for the end (P19). */
  #closeLater(session: Session, closed: () => void): void {
    const { owner } = this.#options;
    owner.afterTruncation(session.inode, () =>
      this.#lanes.run({
        event: 'length.retry',
        inode: session.inode,
        act: () => this.#lengthOf(session),
        done: (found) => {
          // Another client cut the file meanwhile.
          if (found === undefined || owner.state.truncating.has(session.inode)) {
            this.#closeLater(session, closed);
            return;
          }
          this.#close(session, found);
          closed();
        },
      }),
    );
  }

  /** How far the chains know of a writer's file, and of which generation that is. Undefined: it is being truncated. */
  async #lengthOf(session: Session): Promise<FoundLength | undefined> {
    const { owner, chunks } = this.#options;
    if (owner.state.truncating.has(session.inode)) return undefined;
    let inode: message.Inode | undefined;
    owner.internal((transaction) => {
      inode = transaction.inodeNow(session.inode);
    });
    const { layout, generation } = inode ?? {};
    if (!opensForWriting(session.flags) || layout === undefined) return { length: 0n, generation };
    return { length: await chunks.queryLength(session.inode, layout), generation };
  }

  #close(session: Session, { length, generation }: FoundLength): void {
    this.#options.owner.internal((transaction, nowNs) => {
      transaction.closeSession(session);
      const now = transaction.inodeNow(session.inode);
      if (now === undefined) return;
      let next = now;
      if (now.generation === generation && length > now.length) {
        const at = nowNs > now.ctimeNs ? nowNs : now.ctimeNs;
        next = copyOf(now);
        next.length = length;
        next.mtimeNs = at;
        next.ctimeNs = at;
        next.change += 1n;
        transaction.putInode(next);
      }
      if (next.nlink === 0 && transaction.sessionsOf(next.id).size === 1) discardOrphan(transaction, next);
    });
  }

  #forget(client: ClientSession): void {
    const { owner } = this.#options;
    owner.internal((transaction) => {
      transaction.remove(clients, clientKey(client.id));
      for (let slot = 0; slot < unansweredMax; slot++) {
        const key = answerKey(client.id, slot);
        if (transaction.get(answers, key) !== undefined) transaction.remove(answers, key);
      }
    });
    owner.clients.delete(client.id);
  }
}
