// Orders to the manager, and what it says of those under way.
import { setTimeout as sleep } from 'node:timers/promises';
import { FsError, type message, rpcs } from '@catena/core';
import type { ClusterDescription } from './description.ts';
import { withManager } from './managers.ts';
import { managerPage } from './status.ts';

/** A change as the manager's page shows it; a growth has no place, and counts chains instead of replicas. */
export interface ChangeSummary {
  readonly id: number;
  readonly kind: string;
  readonly node: number;
  readonly disk: number | null;
  readonly left: number;
  readonly moving: number;
  readonly waitsFor: string | null;
}

const pollMs = 500;

export function orderChange(
  cluster: ClusterDescription,
  request: Partial<message.ChangeRequest>,
): Promise<message.ChangeReply> {
  return withManager(cluster, (client) => client.call(rpcs.change, request));
}

/** Until the change is no longer under way; each step is told. A manager that is away for a while is waited for. */
export async function waitForChange(
  cluster: ClusterDescription,
  id: number,
  tell: (line: string) => void,
): Promise<void> {
  let told = '';
  for (;;) {
    const changes = (await managerPage(cluster, 'changes')) as ChangeSummary[] | undefined;
    if (changes !== undefined) {
      const change = changes.find((other) => other.id === id);
      if (change === undefined) return;
      const line = describeChange(change);
      if (line !== told) tell(line);
      told = line;
    }
    await sleep(pollMs);
  }
}

export function describeChange(change: ChangeSummary): string {
  const waits = change.waitsFor === null ? '' : `; waits for ${change.waitsFor}`;
  if (change.kind === 'growth') {
    return `growth: ${change.left} new chains left, ${change.moving} of them made${waits}`;
  }
  const place = change.disk === null ? `node ${change.node}` : `disk ${change.disk} of node ${change.node}`;
  return `${change.kind} of ${place}: ${change.left} replicas left, ${change.moving} moving${waits}`;
}

/** `2` or `storage-2`. */
export function nodeOf(text: string): number {
  const digits = /^(?:storage-)?(\d{1,7})$/.exec(text)?.[1];
  if (digits === undefined) {
    throw new FsError(
      'INVALID_ARGUMENT',
      `"${text}" names no storage node; give its number, such as 2 or storage-2`,
    );
  }
  return Number(digits);
}
