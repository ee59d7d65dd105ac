// catena version: the release, and what it runs on.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { root } from '../cluster/mains.ts';

export function addVersion(program: Command): void {
  program
    .command('version')
    .description('print the release')
    .option('--json', 'print JSON')
    .action((options: { json?: true }) => {
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
      if (options.json === true) console.log(JSON.stringify({ version, node: process.versions.node }));
      else console.log(`catena ${version} (node ${process.versions.node})`);
    });
}
