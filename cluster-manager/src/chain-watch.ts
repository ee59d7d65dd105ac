// Which chains change next, by the facts or by order: asks next_chain of each chain whose facts are new. Holds nothing
// that is stored: what a new manager does not know it finds out by asking.
import { message } from '@catena/core';
import type { Leases } from './leases.ts';
import type { Orders } from './moves.ts';

export type NextChain = (request: message.NextChainRequest) => message.NextChainReply;

export interface ChainWatchParts {
  readonly nextChain: NextChain;
  readonly leases: Leases;
  readonly outageGraceMs: number;
  /** When this manager started, and the chains that it found. */
  readonly nowMs: number;
  readonly chains: readonly message.Chain[];
}

/**
 * How long a chain that is reordering, and with it its updates, waits for rest: three heartbeats of 1 s, so that one
 * report may be lost. Then it goes on as it is, and tries again so late that updates wait for at most 5 % of the time.
 */
const reorderingMaxMs = 3_000;
const reorderingPauseMs = 60_000;

export class ChainWatch {
  readonly #parts: ChainWatchParts;
  /** Since when nobody serves; of a chain that never served, since it is there or this manager is. */
  readonly #outageSinceMs = new Map<number, number>();
  /** Of each chain: its version, and since when this manager has known that one. */
  readonly #versionSince = new Map<number, { readonly version: bigint; readonly sinceMs: number }>();
  /** Facts of each chain when it was last looked at: the same facts need no second look while it serves. */
  readonly #seenFacts = new Map<number, string>();

  constructor(parts: ChainWatchParts) {
    this.#parts = parts;
    for (const chain of parts.chains) {
      if (chain.last.length === 0) this.#outageSinceMs.set(chain.id, parts.nowMs);
    }
  }

  /** The next version of those that change, each with its reason. */
  next(
    nowMs: number,
    chains: readonly message.Chain[],
    orders: Orders,
  ): { chains: message.Chain[]; reasons: string[] } {
    const changed: message.Chain[] = [];
    const reasons: string[] = [];
    for (const chain of chains) {
      const reply = this.#ask(nowMs, chain, orders.get(chain.id));
      if (reply?.changed !== true || reply.chain === undefined) continue;
      changed.push(reply.chain);
      reasons.push(reply.reason);
    }
    return { chains: changed, reasons };
  }

  /** It changed, or its change could not be stored: it is looked at again. */
  forget(chain: message.Chain): void {
    this.#seenFacts.delete(chain.id);
  }

  #ask(
    nowMs: number,
    chain: message.Chain,
    order: message.ChainOrder | undefined,
  ): message.NextChainReply | undefined {
    const { nextChain, leases, outageGraceMs } = this.#parts;
    const serves = chain.members.some((member) => member.state === message.PublicState.PUBLIC_SERVING);
    if (serves) this.#outageSinceMs.delete(chain.id);
    else if (!this.#outageSinceMs.has(chain.id)) this.#outageSinceMs.set(chain.id, nowMs);
    const facts = chain.members.map((member) => leases.fact(nowMs, member));
    const timed = chain.reordering || chain.orderGivenUp;
    const key = serves && !timed && order === undefined ? facts.map(textOfFact).join(';') : undefined;
    if (key !== undefined && this.#seenFacts.get(chain.id) === key) return undefined;
    const reply = nextChain({
      chain,
      facts,
      outageMs: BigInt(Math.floor(nowMs - (this.#outageSinceMs.get(chain.id) ?? nowMs))),
      outageGraceMs: BigInt(outageGraceMs),
      order,
      versionMs: BigInt(Math.floor(nowMs - this.#sinceOf(nowMs, chain))),
      reorderingMaxMs: BigInt(reorderingMaxMs),
      reorderingPauseMs: BigInt(reorderingPauseMs),
    });
    if (key !== undefined) this.#seenFacts.set(chain.id, key);
    return reply;
  }

  /** When this manager first looked at that version of the chain. */
  #sinceOf(nowMs: number, { id, version }: message.Chain): number {
    const known = this.#versionSince.get(id);
    if (known?.version === version) return known.sinceMs;
    this.#versionSince.set(id, { version, sinceMs: nowMs });
    return nowMs;
  }
}

function textOfFact(fact: message.TargetFact): string {
  return Object.values(fact).join(' ');
}
