// Removes the chunks of files that are gone. It reads its work from the store alone: what stands there is on
// the medium (P13), and a restart finds the same work. Bounded: so many files at once, so many read ahead, and
// so many more whose chains are away.
import type { message } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { removalsAtOnce, removalsFailingMax, removalsQueuedMax } from '../limits.ts';
import { prefixEnd, tableTag } from '../state/keys.ts';
import { removals } from '../state/tables.ts';
import { Lanes, type Repeater } from './back-off.ts';
import type { Owner } from './owner.ts';

export class Collector {
  readonly #owner: Owner;
  readonly #chunks: ChunkStore;
  readonly #repeater: Repeater;
  readonly #lanes: Lanes;
  readonly #underWay = new Set<string>();
  collected = 0;

  constructor(owner: Owner, chunks: ChunkStore, repeater: Repeater) {
    this.#owner = owner;
    this.#chunks = chunks;
    this.#repeater = repeater;
    this.#lanes = new Lanes(removalsAtOnce, repeater);
  }

  get load(): number {
    return this.#underWay.size;
  }

  /** To be called when the store may have new work. */
  scan(): void {
    const { failing } = this.#lanes;
    // Those that failed do not take the room of others, up to a limit.
    const room = removalsQueuedMax + Math.min(failing, removalsFailingMax) - this.#underWay.size;
    // Refill when half is done: each scan steps over what is under way.
    if (room < removalsQueuedMax / 2 || this.#repeater.signal.aborted) return;
    const { store, overlay } = this.#owner.state;
    const found: [string, message.RemovalIntent][] = [];
    for (const [key, bytes] of store.range(tableTag.removal, prefixEnd(tableTag.removal))) {
      const done = overlay.get(key)?.value === undefined && overlay.get(key) !== undefined;
      if (!done && !this.#underWay.has(key)) found.push([key, removals.decode(bytes)]);
      if (found.length >= room) break;
    }
    for (const [key, intent] of found) {
      this.#underWay.add(key);
      this.#remove(key, intent);
    }
  }

  #remove(key: string, intent: message.RemovalIntent): void {
    const { inode, layout, length } = intent;
    this.#lanes.run({
      event: 'removal.retry',
      inode,
      act: async () => {
        if (layout !== undefined) await this.#chunks.remove(inode, layout, length);
      },
      done: () => {
        this.#owner.internal((transaction) => transaction.remove(removals, key));
        this.collected++;
        this.#underWay.delete(key);
        this.scan();
      },
      failed: () => this.scan(),
    });
  }
}
