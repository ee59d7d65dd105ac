// Room on the disk for what must go on when the disk is full (P8): a file of allocated blocks that nobody writes.
// Whoever meets a full disk gives a piece of it back to the file system and writes at once again.
import { statSync, truncateSync } from 'node:fs';
import { FsError } from './errors.ts';

/** P8: this much each for the metadata log and the manager's state. */
export const reserveBytes = 64 << 20;

/** What is given back at a time: a segment of the log, or many states of a manager. */
export const reservePieceBytes = 16 << 20;

/** Allocates bytes of a file, as fallocate(2) does; core has no native part of its own. */
export type AllocateBlocks = (path: string, offset: number, length: number, keepLength: boolean) => void;

export class SpaceReserve {
  readonly #path: string;
  readonly #allocate: AllocateBlocks;
  readonly #wantedBytes: number;
  #heldBytes: number;

  /** Takes what is there, and the rest as far as the disk has it: a full disk does not keep a service from starting. */
  constructor(path: string, allocate: AllocateBlocks, wantedBytes = reserveBytes) {
    this.#path = path;
    this.#allocate = allocate;
    this.#wantedBytes = wantedBytes;
    this.#heldBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    this.refill();
  }

  /** Nothing was given back that is not there again. */
  get isWhole(): boolean {
    return this.#heldBytes >= this.#wantedBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Gives a piece back to the file system; false if none is left. */
  spend(): boolean {
    if (this.#heldBytes === 0) return false;
    const left = Math.max(0, this.#heldBytes - reservePieceBytes);
    truncateSync(this.#path, left);
    this.#heldBytes = left;
    return true;
  }

  /** Takes back what is missing, as far as there is room; cheap if nothing is. */
  refill(): void {
    while (!this.isWhole) {
      const piece = Math.min(reservePieceBytes, this.#wantedBytes - this.#heldBytes);
      try {
        this.#allocate(this.#path, this.#heldBytes, piece, false);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        // Where blocks cannot be reserved at all, waiting for them would refuse every new name for good.
        if (error.code === 'NOT_SUPPORTED') this.#heldBytes = this.#wantedBytes;
        return;
      }
      this.#heldBytes += piece;
    }
  }

  /** Runs `act`, again after each piece that is given back, as long as it meets a full disk. */
  withRoom<T>(act: () => T): T {
    for (;;) {
      try {
        return act();
      } catch (error) {
        if (!meansFull(error) || !this.spend()) throw error;
      }
    }
  }
}

/** As the system says it, or as one of our own that was made of it. */
function meansFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'NO_SPACE'].includes((error as NodeJS.ErrnoException).code ?? '');
}
