// catena targets: every replica's store: where it is, whose it is, what it says of itself.
import type { Command } from 'commander';
import { nodeOf } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { lackOf, requirePage } from '../cluster/status.ts';
import { directoryOption } from './options.ts';
import { printJson, printTable } from './table.ts';

interface TargetRow {
  readonly target: string;
  readonly node: number;
  readonly disk: number;
  readonly chain: number;
  readonly state: string;
  readonly localState: string | null;
  readonly diskError: boolean | null;
  readonly missingBytes: string | null;
  readonly usedBytes: string | null;
}

export function addTargets(program: Command): void {
  program
    .command('targets')
    .description('show every target: node, disk, chain, state and space')
    .option(...directoryOption)
    .option('--node <node>', 'only those of this storage node')
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; node?: string; json?: true }) => {
      const all = (await requirePage(requireCluster(options.dir), 'targets')) as TargetRow[];
      const node = options.node === undefined ? undefined : nodeOf(options.node);
      const targets = all.filter((row) => node === undefined || row.node === node);
      if (options.json === true) return printJson(targets);
      const rows = targets.map((row) => [
        row.target,
        String(row.node),
        String(row.disk),
        String(row.chain),
        row.state,
        row.diskError === true ? 'disk error' : `${row.localState ?? 'not heard'}${lackOf(row)}`,
        row.usedBytes === null ? '-' : `${(Number(row.usedBytes) / 2 ** 20).toFixed(1)} MiB`,
      ]);
      printTable(['target', 'node', 'disk', 'chain', 'state', 'says', 'used'], rows);
    });
}
