// catena grow: new chains for nodes and disks that were added; new files use them, old ones stay where they are.
import { message } from '@catena/core';
import type { Command } from 'commander';
import { orderChange } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { carryOut, type WaitOptions, waitOption } from './carry-out.ts';
import { directoryOption } from './options.ts';

export function addGrow(program: Command): void {
  program
    .command('grow')
    .description('make as many chains as the nodes and disks of today are worth; new files use them')
    .option(...directoryOption)
    .option('--abort', 'end a growth that waits and has made no chain yet')
    .option(...waitOption)
    .option('--json', 'print JSON')
    .action(async (options: WaitOptions & { dir: string; abort?: true }) => {
      const cluster = requireCluster(options.dir);
      const { ACTION_ABORT, ACTION_GROW } = message.ChangeAction;
      const action = options.abort === true ? ACTION_ABORT : ACTION_GROW;
      const reply = await orderChange(cluster, { action, targetsPerDisk: cluster.targetsPerDisk });
      await carryOut(cluster, reply, options);
    });
}
