// catena replace: makes the lost replicas of a node or disk anew, on the empty disk in its place or on another node.
import { message } from '@catena/core';
import type { Command } from 'commander';
import { nodeOf, orderChange } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { carryOut, type WaitOptions, waitOption } from './carry-out.ts';
import { directoryOption, wholeNumber } from './options.ts';

interface ReplaceOptions extends WaitOptions {
  dir: string;
  disk?: number;
  with?: string;
}

export function addReplace(program: Command): void {
  program
    .command('replace')
    .description('fill an empty disk or node in the place of a lost one, or move everything to another node')
    .argument('<node>', 'storage node, such as 2 or storage-2')
    .option(...directoryOption)
    .option('--disk <n>', 'only this disk of it', wholeNumber(0, 998))
    .option('--with <node>', 'the storage node that takes its place; without: the same one, which runs again')
    .option(...waitOption)
    .option('--json', 'print JSON')
    .action(async (node: string, options: ReplaceOptions) => {
      const cluster = requireCluster(options.dir);
      const reply = await orderChange(cluster, {
        action: message.ChangeAction.ACTION_REPLACE,
        place: { node: nodeOf(node), disk: options.disk },
        with: options.with === undefined ? undefined : { node: nodeOf(options.with), disk: undefined },
      });
      await carryOut(cluster, reply, options);
    });
}
