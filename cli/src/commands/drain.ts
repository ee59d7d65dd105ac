// catena drain: moves every replica off a node or a disk, so that it can be removed; nothing new is placed there.
import { message } from '@catena/core';
import type { Command } from 'commander';
import { nodeOf, orderChange } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { carryOut, type WaitOptions, waitOption } from './carry-out.ts';
import { directoryOption, wholeNumber } from './options.ts';

interface DrainOptions extends WaitOptions {
  dir: string;
  disk?: number;
  abort?: true;
}

export function addDrain(program: Command): void {
  program
    .command('drain')
    .description('move every replica off a storage node or disk, under load; it stays closed for new ones')
    .argument('<node>', 'storage node, such as 2 or storage-2')
    .option(...directoryOption)
    .option('--disk <n>', 'only this disk of it', wholeNumber(0, 998))
    .option('--abort', 'end a change of that place: moves under way are taken back, what moved stays')
    .option(...waitOption)
    .option('--json', 'print JSON')
    .action(async (node: string, options: DrainOptions) => {
      const cluster = requireCluster(options.dir);
      const { ACTION_ABORT, ACTION_DRAIN } = message.ChangeAction;
      const action = options.abort === true ? ACTION_ABORT : ACTION_DRAIN;
      const reply = await orderChange(cluster, { action, place: { node: nodeOf(node), disk: options.disk } });
      await carryOut(cluster, reply, options);
    });
}
