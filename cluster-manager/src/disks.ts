// The disks that replicas can be on, from what nodes said when they registered and what they report. Pure.
import { message } from '@catena/core';
import { type Disk, isAt } from './layout.ts';
import { domainOf } from './placement.ts';

const { NODE_STORAGE } = message.NodeKind;

export interface DiskParts {
  readonly nodes: readonly message.Node[];
  readonly chains: readonly message.Chain[];
  readonly closed: readonly message.Place[];
  /** Of the members of chains. */
  readonly report: (member: message.Member) => message.TargetReport | undefined;
}

export function disksOf({ nodes, chains, closed, report }: DiskParts): Disk[] {
  const full = new Set<string>();
  const known = new Map<number, number>();
  for (const member of chains.flatMap((chain) => chain.members)) {
    known.set(member.node, Math.max(known.get(member.node) ?? 0, member.disk + 1));
    if (report(member)?.noAllocate === true) full.add(`${member.node}/${member.disk}`);
  }
  return nodes
    .filter((node) => node.kind === NODE_STORAGE)
    .flatMap((node) => {
      // Until it has registered, a node has the disks that its targets are on.
      const count = node.disks > 0 ? node.disks : (known.get(node.id) ?? 0);
      const domain = domainOf({ node: node.id, domain: node.domain });
      return Array.from({ length: count }, (_, disk): Disk => {
        const at = { node: node.id, disk };
        const drained = isClosed(closed, at);
        const isOpen = node.alive && !drained && !full.has(`${node.id}/${disk}`);
        return { ...at, domain, isOpen, isClosed: drained };
      });
    });
}

/** Whether the place takes new replicas, as far as the administrator has a say. */
export function isClosed(
  closed: readonly message.Place[],
  at: { readonly node: number; readonly disk: number },
): boolean {
  return closed.some((place) => isAt(place, at));
}
