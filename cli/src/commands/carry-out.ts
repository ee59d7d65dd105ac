// What drain, replace and add have in common once the manager has taken the order: say what begins, and with --wait
// follow it to its end.
import type { message } from '@catena/core';
import { waitForChange } from '../cluster/changes.ts';
import type { ClusterDescription } from '../cluster/description.ts';
import { printJson } from './table.ts';

export interface WaitOptions {
  wait?: true;
  json?: true;
}

export const waitOption: [string, string] = ['--wait', 'return when it is done; without: at once'];

export async function carryOut(
  cluster: ClusterDescription,
  { change, detail }: Pick<message.ChangeReply, 'change' | 'detail'>,
  options: WaitOptions,
): Promise<void> {
  const tell = (line: string): void => {
    if (options.json !== true) console.log(line);
  };
  tell(detail);
  if (options.wait === true && change !== undefined) {
    await waitForChange(cluster, change.id, tell);
    tell('done');
  }
  if (options.json === true) {
    printJson({ detail, change: change?.id ?? null, done: options.wait === true || change === undefined });
  }
}
