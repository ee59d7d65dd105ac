// catena status: processes, chains and the mount of the cluster of a folder. Exit code 0 only if everything
// serves.
import type { Command } from 'commander';
import { requireCluster } from '../cluster/description.ts';
import { clusterStatus, notReady } from '../cluster/status.ts';
import { directoryOption } from './options.ts';

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show processes, chains and the mount; exit code 0 only if all of it serves')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; json?: true }) => {
      const status = await clusterStatus(requireCluster(options.dir));
      const missing = notReady(status);
      if (missing !== undefined) process.exitCode = 1;
      if (options.json === true) {
        console.log(JSON.stringify({ ...status, ready: missing === undefined, missing }, undefined, 2));
        return;
      }
      console.log(`${status.name} in ${status.directory}: ${missing ?? 'everything serves'}`);
      for (const entry of status.processes) {
        const state = entry.pid === undefined ? 'stopped' : entry.healthy ? 'healthy' : 'starting';
        console.log(
          `  ${entry.name.padEnd(12)} ${state.padEnd(9)} ${`${entry.pid ?? ''}`.padEnd(8)} ${entry.http}`,
        );
      }
      for (const chain of status.chains ?? []) {
        const members = chain.members.map((member) => `${member.target}@${member.node} ${member.state}`);
        console.log(`  chain ${chain.id} v${chain.version}: ${members.join(' → ')}`);
      }
      if (status.mountpoint !== undefined) {
        console.log(`  mount ${status.mountpoint}: ${status.mounted ? 'mounted' : 'not mounted'}`);
      }
    });
}
