// Which fences hold (P4). Pure. Only the head of a chain tests a client, so a fence holds when every head, of the
// current version of its chain, has said so: it refuses the client, and nothing of it is in the air there. The
// heads before it answer nobody, and what they left was rolled forward. The same rule as `fence_holds_in` of
// native/crates/chain, which the simulator runs.
import { message } from '@catena/core';

/** The last report of the target by the process that the chain names; undefined if there is none. */
export type ReportOf = (member: message.Member) => message.TargetReport | undefined;

/** The routing version up to which every fence holds in every chain; undefined: there is no chain to wait for. */
export function fencesHeld(chains: readonly message.Chain[], reportOf: ReportOf): bigint | undefined {
  let held: bigint | undefined;
  for (const chain of chains) {
    if (chain.last.length === 0) continue; // it never served
    const head = chain.members.find((member) => member.state === message.PublicState.PUBLIC_SERVING);
    const report = head === undefined ? undefined : reportOf(head);
    // A chain that nobody serves may still have updates to roll forward.
    if (report === undefined || report.chainVersion !== chain.version) return 0n;
    if (held === undefined || report.fencesHeld < held) held = report.fencesHeld;
  }
  return held;
}
