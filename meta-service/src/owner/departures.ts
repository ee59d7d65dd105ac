// Clients that are gone: fenced by the manager (P4), or unheard of for the length of their lease where there
// is no manager to ask. Their sessions are closed, files they were writing get the length that the chains
// know, their answers go. A restart begins anew with whoever is still there.
import type { Clock, Logger, message } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { unansweredMax } from '../limits.ts';
import { discardOrphan } from '../operations/removal.ts';
import { answerKey, clientKey, orphanKey, prefixEnd, tableTag } from '../state/keys.ts';
import type { Session } from '../state/open-files.ts';
import { answers, clients, orphans } from '../state/tables.ts';
import { Lanes, type Repeater, untilDone } from './back-off.ts';
import type { ClientSession } from './clients.ts';
import type { Owner } from './owner.ts';

/** Files whose length is asked for at once. */
const queriesAtOnce = 8;

export interface DepartureOptions {
  readonly owner: Owner;
  readonly chunks: ChunkStore;
  readonly repeater: Repeater;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leaseMs: number;
  /** Whether it can be known who is gone: not while the manager is out of reach (P4). */
  readonly mayExpire: () => boolean;
}

export class Departures {
  readonly #options: DepartureOptions;
  readonly #lanes = new Lanes(queriesAtOnce);
  /** Ids that the manager knows: it decides when they are gone. As many as routing carries. */
  #live = new Set<string>();

  constructor(options: DepartureOptions) {
    this.#options = options;
  }

  /** To be called about once a second. */
  expire(): void {
    const { owner, clock, leaseMs, mayExpire } = this.#options;
    const now = clock.nowMs();
    const knows = mayExpire();
    for (const client of owner.clients.values()) {
      if (!knows) client.heardMs = now;
      const unheardMs = now - client.heardMs;
      if (!this.#live.has(client.id) && !client.leaving && unheardMs > leaseMs) {
        this.#leave(client, 'its lease ran out');
      }
    }
  }

  /** The manager's list of live clients, as a change or as a whole. Who leaves it is fenced. */
  live(added: Iterable<string>, removed: Iterable<string>, whole: boolean): void {
    const before = whole ? this.#live : new Set(removed);
    if (whole) this.#live = new Set(added);
    else for (const id of added) this.#live.add(id);
    for (const id of before) {
      if (whole && this.#live.has(id)) continue;
      this.#live.delete(id);
      const client = this.#options.owner.clients.get(id);
      if (client !== undefined && !client.leaving) this.#leave(client, 'the manager fenced it');
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
    for (const id of ids) {
      owner.internal((transaction) => {
        if (transaction.get(orphans, orphanKey(id)) === undefined) return;
        const inode = transaction.inodeNow(id);
        if (inode === undefined || transaction.sessionsOf(id).size > 0 || state.truncating.has(id)) return;
        discardOrphan(transaction, inode);
      });
    }
  }

  #leave(client: ClientSession, reason: string): void {
    const { owner, log } = this.#options;
    const sessions = [...owner.state.openFiles.ofClient(client.id)];
    log.info('client.end', {
      client: Buffer.from(client.id, 'latin1'),
      host: client.host,
      reason,
      sessions: sessions.length,
    });
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
    this.#options.owner.afterTruncation(session.inode, () =>
      this.#lanes.run(() => this.#close(session, closed)),
    );
  }

  async #close(session: Session, closed: () => void): Promise<void> {
    const { owner, chunks, repeater } = this.#options;
    const { truncating } = owner.state;
    if (truncating.has(session.inode)) return this.#closeLater(session, closed);
    let inode: message.Inode | undefined;
    owner.internal((transaction) => {
      inode = transaction.inodeNow(session.inode);
    });
    const { layout, generation } = inode ?? {};
    let length = 0n;
    if (session.logged && layout !== undefined) {
      const found = await untilDone(repeater, 'length.retry', session.inode, () =>
        chunks.queryLength(session.inode, layout),
      );
      if (found === undefined) return;
      length = found.result;
      // Another client cut the file meanwhile.
      if (truncating.has(session.inode)) return this.#closeLater(session, closed);
    }
    owner.internal((transaction, nowNs) => {
      transaction.closeSession(session);
      const now = transaction.inodeNow(session.inode);
      if (now === undefined) return;
      let next = now;
      if (now.generation === generation && length > now.length) {
        const at = nowNs > now.ctimeNs ? nowNs : now.ctimeNs;
        next = { ...now, length, mtimeNs: at, ctimeNs: at, change: now.change + 1n };
        transaction.putInode(next);
      }
      if (next.nlink === 0 && transaction.sessionsOf(next.id).size === 1) discardOrphan(transaction, next);
    });
    closed();
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
