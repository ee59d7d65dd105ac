// catena nodes: every node of the cluster with its domain, disks and space, and what is under way.
import type { Command } from 'commander';
import { type ChangeSummary, describeChange } from '../cluster/changes.ts';
import { requireCluster } from '../cluster/description.ts';
import { requirePage } from '../cluster/status.ts';
import { directoryOption } from './options.ts';
import { printJson, printTable } from './table.ts';

interface NodeRow {
  readonly name: string;
  readonly kind: string;
  readonly alive: boolean;
  readonly domain: string;
  readonly disks: number;
  readonly closed: readonly number[];
  readonly targets: number;
  readonly usedBytes: string;
  readonly capacityBytes: string;
  readonly address: string;
}

export function addNodes(program: Command): void {
  program
    .command('nodes')
    .description('show every node: alive, failure domain, disks, replicas, space; and the changes under way')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; json?: true }) => {
      const cluster = requireCluster(options.dir);
      const nodes = (await requirePage(cluster, 'nodes')) as NodeRow[];
      const changes = (await requirePage(cluster, 'changes')) as ChangeSummary[];
      if (options.json === true) return printJson({ nodes, changes });
      const rows = nodes.map((node) => [
        node.name,
        node.alive ? 'alive' : 'away',
        node.domain === '' ? '-' : node.domain,
        node.kind === 'storage'
          ? `${node.disks}${node.closed.length > 0 ? ` (closed: ${node.closed.join(', ')})` : ''}`
          : '-',
        node.kind === 'storage' ? String(node.targets) : '-',
        node.kind === 'storage'
          ? `${gibibytes(node.usedBytes)} of ${gibibytes(node.capacityBytes)} GiB`
          : '-',
        node.address,
      ]);
      printTable(['node', 'state', 'domain', 'disks', 'replicas', 'space', 'address'], rows);
      for (const change of changes) console.log(describeChange(change));
    });
}

function gibibytes(bytes: string): string {
  return (Number(bytes) / 2 ** 30).toFixed(1);
}
