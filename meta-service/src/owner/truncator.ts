// Finishes truncations (P19): when the intent is on the medium the chunks are trimmed, then the intent goes
// and everybody who waited goes on. An intent that a restart finds is finished the same way.
import type { message } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { truncationsAtOnce } from '../limits.ts';
import { lengthUnknown } from '../operations/length.ts';
import { truncationKey } from '../state/keys.ts';
import { truncations } from '../state/tables.ts';
import { Lanes, type Repeater } from './back-off.ts';
import type { Owner } from './owner.ts';

export class Truncator {
  readonly #chunks: ChunkStore;
  readonly #lanes: Lanes;

  constructor(chunks: ChunkStore, repeater: Repeater) {
    this.#chunks = chunks;
    this.#lanes = new Lanes(truncationsAtOnce, repeater);
  }

  get load(): number {
    return this.#lanes.load;
  }

  /** The intent is in the state, in `batch`. */
  start(owner: Owner, inode: bigint, batch: number): void {
    owner.journal.whenFlushed(batch, () => this.#trim(owner, inode));
  }

  #trim(owner: Owner, inode: bigint): void {
    let intent: message.TruncateIntent | undefined;
    owner.internal((transaction) => {
      intent = transaction.get(truncations, truncationKey(inode));
    });
    const { layout, length, oldLength } = intent ?? {};
    const reach = oldLength === lengthUnknown ? undefined : oldLength;
    this.#lanes.run({
      event: 'truncation.retry',
      inode,
      act: async () => {
        if (layout === undefined || length === undefined) return;
        await this.#chunks.truncate(inode, layout, length, reach);
      },
      done: () => {
        const batch = owner.internal((transaction) => transaction.remove(truncations, truncationKey(inode)));
        owner.endTruncation(inode, batch);
      },
    });
  }
}
