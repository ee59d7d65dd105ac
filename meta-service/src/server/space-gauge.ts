// What the storage servers have, asked for every few seconds, so that statfs answers at once and without
// waiting for anybody; and our own reserve, which is taken back when the disk has room again.
import { type Clock, FsError, type Logger, type SpaceReserve, type Timer } from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import type { Space } from '../operations/operation.ts';

const periodMs = 5_000;

export class SpaceGauge {
  readonly #chunks: ChunkStore;
  readonly #reserve: SpaceReserve;
  readonly #clock: Clock;
  readonly #log: Logger;
  #space: Space = { capacityBytes: 0n, usedBytes: 0n };
  #timer: Timer | undefined;
  #stopped = false;

  constructor(chunks: ChunkStore, reserve: SpaceReserve, clock: Clock, log: Logger) {
    this.#chunks = chunks;
    this.#reserve = reserve;
    this.#clock = clock;
    this.#log = log;
  }

  get space(): Space {
    return this.#space;
  }

  start(): void {
    void this.#measure();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #keepReserve(): void {
    if (this.#reserve.isWhole) return;
    this.#reserve.refill();
    const { heldBytes } = this.#reserve;
    if (this.#reserve.isWhole) this.#log.info('reserve.whole', { heldBytes });
    else this.#log.warning('disk.full', { heldBytes });
  }

  async #measure(): Promise<void> {
    this.#keepReserve();
    try {
      this.#space = await this.#chunks.space();
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#log.debug('space.unknown', { error });
    }
    if (this.#stopped) return;
    this.#timer = this.#clock.timer(periodMs, () => void this.#measure(), { background: true });
  }
}
