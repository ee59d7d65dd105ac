// Work that is done one piece after another, in the order in which it came.
import { FsError } from '@catena/core';

/** Requests that wait for their turn: one of each client and as many again; a store that hangs ends them all. */
const waitingMax = 131_072;

export class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /**
   * The next one begins when the answer of this one has been written, so that answers and pushes reach a connection in
   * the order in which they were decided.
   */
  take<T>(act: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax) throw new FsError('OVERLOADED', `${waitingMax} requests wait`);
    this.#waiting++;
    const turn = this.#last.then(act);
    const ended = (): Promise<void> => {
      this.#waiting--;
      return new Promise((resolve) => setImmediate(resolve));
    };
    this.#last = turn.then(ended, ended);
    return turn;
  }
}
