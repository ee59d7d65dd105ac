// Which version of a chain follows which, as native/crates/chain/src/next_chain/lineage.rs says it: the number alone
// does not tell, when a manager with an old state has counted up.
import type { message } from '@catena/core';

/** Whether the chain is, or follows, the version that this term made; version 0 is nothing. */
export function follows(chain: message.Chain, term: bigint, version: bigint): boolean {
  if (version === 0n || (chain.term === term && version <= chain.version)) return true;
  return chain.follows.some(
    (before) =>
      (before.term === term && before.over) ||
      ((before.term === term || before.term === 0n) && version <= before.lastVersion),
  );
}
