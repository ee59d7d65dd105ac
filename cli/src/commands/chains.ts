// catena chains: every chain with its members in order, head first, and the table that they are in.
import { message } from '@catena/core';
import type { Command } from 'commander';
import { orderChange } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { lackOf, requirePage } from '../cluster/status.ts';
import { directoryOption } from './options.ts';
import { printJson, printTable } from './table.ts';

interface ChainRow {
  readonly id: number;
  /** Null: it is being made, and no file uses it yet. */
  readonly sinceTableVersion: number | null;
  readonly version: string;
  readonly durabilityEpoch: string;
  /** Why it does not change, and nobody gets a lease for it; null: it does. */
  readonly held: 'waiting' | 'frozen' | null;
  readonly heldReason: string | null;
  readonly members: readonly {
    readonly target: string;
    readonly node: number;
    readonly disk: number;
    readonly state: string;
    readonly tenure?: string;
    readonly syncedPercent: number | null;
    readonly missingBytes: string;
  }[];
}

interface TableRow {
  readonly id: number;
  readonly version: number;
  /** Chains of each version. */
  readonly lengths: readonly number[];
  /** Null: the cluster was made by a release that does not say how many there should be. */
  readonly missing: number | null;
}

export function addChains(program: Command): void {
  program
    .command('chains')
    .description('show every chain: version and members, head first, with who is synced and who leaves')
    .option(...directoryOption)
    .option('--adopt', 'frozen chains become what their targets know; what only missing servers had is lost')
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; adopt?: true; json?: true }) => {
      const cluster = requireCluster(options.dir);
      if (options.adopt === true) {
        const reply = await orderChange(cluster, { action: message.ChangeAction.ACTION_ADOPT });
        return options.json === true ? printJson(reply) : console.log(reply.detail);
      }
      const chains = (await requirePage(cluster, 'chains')) as ChainRow[];
      if (options.json === true) return printJson(chains);
      const rows = chains.map((chain) => [
        String(chain.id),
        chain.sinceTableVersion === null ? 'not yet' : String(chain.sinceTableVersion),
        chain.version,
        chain.members.map(describeMember).join(' > '),
      ]);
      printTable(['chain', 'in table since', 'version', 'members'], rows);
      const tables = (await requirePage(cluster, 'tables')) as TableRow[];
      for (const table of tables) console.log(describeTable(table));
      for (const { id, held, heldReason } of chains) {
        if (held !== null) console.log(`chain ${id} is ${held}: ${heldReason}`);
      }
    });
}

/** Of the versions before, the newest: a table may have many. */
function describeTable({ id, version, lengths, missing }: TableRow): string {
  const before = lengths.at(-2);
  const earlier = before === undefined ? '' : `, ${before} of them since version ${version - 1} or earlier`;
  const more = missing === null || missing === 0 ? '' : `; ${missing} more are possible: catena grow`;
  return `table ${id}: version ${version}, ${lengths.at(-1)} chains${earlier}${more}`;
}

function describeMember(member: ChainRow['members'][number]): string {
  const synced = member.syncedPercent === null ? '' : ` ${member.syncedPercent} %`;
  const tenure = member.tenure === undefined ? '' : `, ${member.tenure}`;
  return `${member.target} on ${member.node} (${member.state}${synced}${lackOf(member)}${tenure})`;
}
