// Which nodes may register that the state does not know: metadata services, as they come, and storage servers that know
// more of a chain than the state does, which then is an old one (P3).
import { FsError, message } from '@catena/core';
import { follows } from './lineage.ts';

/** Metadata services are added as they register; more than this is a mistake. */
const metaNodesMax = 64;

export function requireAdmitted(
  { kind, node, chains }: message.RegisterRequest,
  stored: { readonly nodes: readonly message.Node[]; readonly chains: readonly message.Chain[] },
): void {
  const known = stored.nodes.filter((other) => other.kind === kind).map((other) => other.id);
  if (kind === message.NodeKind.NODE_STORAGE) {
    const isNewer = (claim: message.Chain): boolean => {
      const chain = stored.chains.find((one) => one.id === claim.id);
      return chain !== undefined && !follows(chain, claim.term, claim.version);
    };
    if (chains.some(isNewer)) return;
    throw new FsError(
      'INVALID_ARGUMENT',
      `storage node ${node} is none of this cluster's: ${known.join(', ')}; add it with: catena add`,
    );
  }
  if (node === 0 || known.length >= metaNodesMax) {
    throw new FsError(
      'INVALID_ARGUMENT',
      `metadata node ${node}: numbers start at 1, ${metaNodesMax} nodes at most`,
    );
  }
}
