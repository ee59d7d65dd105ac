// catena down: unmounts and stops every process of the cluster, in order; the data stay.
import type { Command } from 'commander';
import { requireCluster } from '../cluster/description.ts';
import { stopCluster } from '../cluster/start.ts';
import { directoryOption } from './options.ts';

export function addDown(program: Command): void {
  program
    .command('down')
    .description('unmount and stop the cluster of a folder; the data stay')
    .option(...directoryOption)
    .action(async (options: { dir: string }) => {
      const stopped = await stopCluster(requireCluster(options.dir));
      console.log(stopped ? 'stopped' : 'nothing was running');
    });
}
