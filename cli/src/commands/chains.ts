// catena chains: every chain with its members in order, head first.
import type { Command } from 'commander';
import { requireCluster } from '../cluster/description.ts';
import { requirePage } from '../cluster/status.ts';
import { directoryOption } from './options.ts';
import { printJson, printTable } from './table.ts';

interface ChainRow {
  readonly id: number;
  readonly version: string;
  readonly durabilityEpoch: string;
  readonly members: readonly {
    readonly target: string;
    readonly node: number;
    readonly disk: number;
    readonly state: string;
    readonly tenure?: string;
    readonly syncedPercent: number | null;
  }[];
}

export function addChains(program: Command): void {
  program
    .command('chains')
    .description('show every chain: version and members, head first, with who is synced and who leaves')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; json?: true }) => {
      const chains = (await requirePage(requireCluster(options.dir), 'chains')) as ChainRow[];
      if (options.json === true) return printJson(chains);
      const rows = chains.map((chain) => [
        String(chain.id),
        chain.version,
        chain.members.map(describeMember).join(' > '),
      ]);
      printTable(['chain', 'version', 'members'], rows);
    });
}

function describeMember(member: ChainRow['members'][number]): string {
  const synced = member.syncedPercent === null ? '' : ` ${member.syncedPercent} %`;
  const tenure = member.tenure === undefined ? '' : `, ${member.tenure}`;
  return `${member.target} on ${member.node} (${member.state}${synced}${tenure})`;
}
