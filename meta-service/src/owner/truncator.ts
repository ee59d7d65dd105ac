// Finishes truncations (P19): when the intent is on the medium the chunks are trimmed, then the intent goes
// and everybody who waited goes on. An intent that a restart finds is finished the same way.
import type { message } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { truncationsAtOnce } from '../limits.ts';
import { lengthUnknown } from '../operations/length.ts';
import { truncationKey } from '../state/keys.ts';
import { truncations } from '../state/tables.ts';
import { Lanes, type Repeater, untilDone } from './back-off.ts';
import type { Owner } from './owner.ts';

export class Truncator {
  readonly #chunks: ChunkStore;
  readonly #repeater: Repeater;
  readonly #lanes = new Lanes(truncationsAtOnce);

  constructor(chunks: ChunkStore, repeater: Repeater) {
    this.#chunks = chunks;
    this.#repeater = repeater;
  }

  get load(): number {
    return this.#lanes.load;
  }

  /** The intent is in the state, in `batch`. */
  start(owner: Owner, inode: bigint, batch: number): void {
    owner.journal.whenFlushed(batch, () => this.#lanes.run(() => this.#finish(owner, inode)));
  }

  async #finish(owner: Owner, inode: bigint): Promise<void> {
    let intent: message.TruncateIntent | undefined;
    owner.internal((transaction) => {
      intent = transaction.get(truncations, truncationKey(inode));
    });
    const { layout, length, oldLength } = intent ?? {};
    if (layout !== undefined && length !== undefined) {
      const reach = oldLength === lengthUnknown ? undefined : oldLength;
      const trimmed = await untilDone(this.#repeater, 'truncation.retry', inode, () =>
        this.#chunks.truncate(inode, layout, length, reach),
      );
      if (trimmed === undefined) return;
    }
    const batch = owner.internal((transaction) => transaction.remove(truncations, truncationKey(inode)));
    owner.endTruncation(inode, batch);
  }
}
