// Requests that wait for the end of a truncation, by its inode. An update waits until then, because its answer is
// kept and its copies join it; a read, which comes again as another request, no longer than its caller does (P17):
// else those of one file whose chain is away would in time take the room of all.
import { parkedRequestsMax } from '../limits.ts';
import { refusal } from '../state/refusal.ts';
import type { Call } from './call.ts';

interface Parked {
  readonly call: Call;
  /** On the owner's clock. */
  readonly endMs: number;
}

export class ParkedCalls {
  readonly #byInode = new Map<bigint, Parked[]>();
  /** Of calls that were parked before, so that a second truncation gives nobody more time. */
  readonly #ends = new WeakMap<Call, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  requireRoom(): void {
    if (this.#count >= parkedRequestsMax)
      throw refusal('OVERLOADED', 'too many requests wait for truncations');
  }

  add(inode: bigint, call: Call, nowMs: number): void {
    const endMs = this.#ends.get(call) ?? endOf(call, nowMs);
    this.#ends.set(call, endMs);
    const parked = this.#byInode.get(inode);
    if (parked === undefined) this.#byInode.set(inode, [{ call, endMs }]);
    else parked.push({ call, endMs });
    this.#count++;
  }

  /** In the order in which they came. */
  take(inode: bigint): Call[] {
    const parked = this.#byInode.get(inode) ?? [];
    this.#byInode.delete(inode);
    this.#count -= parked.length;
    return parked.map(({ call }) => call);
  }

  /** Those that nobody waits for any more; `isGivenUp` is asked about the others. */
  takeOver(nowMs: number, isGivenUp: (call: Call) => boolean): Call[] {
    const over: Call[] = [];
    for (const [inode, parked] of this.#byInode) {
      const kept = parked.filter(({ call, endMs }) => {
        const stays = endMs > nowMs && !isGivenUp(call);
        if (!stays) over.push(call);
        return stays;
      });
      if (kept.length === 0) this.#byInode.delete(inode);
      else if (kept.length < parked.length) this.#byInode.set(inode, kept);
    }
    this.#count -= over.length;
    return over;
  }
}

function endOf(call: Call, nowMs: number): number {
  const { deadlineMs } = call.header;
  return call.operation.updates || deadlineMs === 0 ? Number.POSITIVE_INFINITY : nowMs + deadlineMs;
}
