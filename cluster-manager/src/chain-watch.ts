// Which chains change next, by the facts or by order: asks next_chain of each chain whose facts are new. Holds nothing
// that is stored: what a new manager does not know it finds out by asking.
import { message } from '@catena/core';
import type { Leases } from './leases.ts';
import type { Orders } from './moves.ts';

const { HOLD_NONE, HOLD_FROZEN } = message.ChainHold;

export type NextChain = (request: message.NextChainRequest) => message.NextChainReply;

export interface ChainWatchParts {
  readonly nextChain: NextChain;
  readonly leases: Leases;
  readonly outageGraceMs: number;
  /** Random: of this process. Nobody else makes a version of a chain under it. */
  readonly term: bigint;
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

/** A chain that does not change, and for which nobody gets a lease. */
export interface Held {
  readonly hold: message.ChainHold;
  readonly reason: string;
}

export class ChainWatch {
  readonly #parts: ChainWatchParts;
  /** Since when nobody serves; of a chain that never served, since it is there or this manager is. */
  readonly #outageSinceMs = new Map<number, number>();
  /** Of each chain: its version, and since when this manager has known that one. */
  readonly #versionSince = new Map<number, { readonly version: bigint; readonly sinceMs: number }>();
  /** Facts of each chain when it was last looked at: the same facts need no second look while it serves. */
  readonly #seenFacts = new Map<number, string>();
  /** As of the last look. */
  readonly #held = new Map<number, Held>();
  readonly #newlyFrozen: { readonly chain: number; readonly reason: string }[] = [];

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

  heldOf(chain: number): Held | undefined {
    return this.#held.get(chain);
  }

  /** Of those that a node has, or is to have, a target of. */
  heldAt(
    { node, targets }: message.HeartbeatRequest,
    { chains }: { readonly chains: readonly message.Chain[] },
  ): number[] {
    if (this.#held.size === 0) return [];
    const named = chains.filter((chain) => chain.members.some((one) => one.node === node));
    const all = new Set([...named.map(({ id }) => id), ...targets.map(({ chain }) => chain)]);
    return [...all].filter((chain) => this.#held.has(chain));
  }

  /** Those of which a target knows a version that this manager's state does not. */
  get frozen(): number[] {
    return [...this.#held].filter(([, held]) => held.hold === HOLD_FROZEN).map(([chain]) => chain);
  }

  /** Since this was asked last, each with what it waits for. */
  newlyFrozen(): readonly { readonly chain: number; readonly reason: string }[] {
    return this.#newlyFrozen.splice(0);
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
    const { nextChain, leases, outageGraceMs, term } = this.#parts;
    const serves = chain.members.some((member) => member.state === message.PublicState.PUBLIC_SERVING);
    if (serves) this.#outageSinceMs.delete(chain.id);
    else if (!this.#outageSinceMs.has(chain.id)) this.#outageSinceMs.set(chain.id, nowMs);
    const facts = leases.facts(nowMs, chain);
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
      term,
      claims: leases.claims(chain),
    });
    const { hold, reason } = reply;
    const isNews = hold === HOLD_FROZEN && this.#held.get(chain.id)?.reason !== reason;
    if (isNews) this.#newlyFrozen.push({ chain: chain.id, reason });
    this.#held.set(chain.id, { hold, reason });
    if (hold === HOLD_NONE) this.#held.delete(chain.id);
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
