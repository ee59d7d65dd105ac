// `catena ...`: one file per command. This file only names them, and turns an error into one line and an exit
// code.
import { FsError, fromSystemError } from '@catena/core';
import { Command, CommanderError } from 'commander';
import { addAdd } from './commands/add.ts';
import { addBench } from './commands/bench.ts';
import { addChains } from './commands/chains.ts';
import { addDemo } from './commands/demo.ts';
import { addDown } from './commands/down.ts';
import { addDrain } from './commands/drain.ts';
import { addFs } from './commands/fs.ts';
import { addGrow } from './commands/grow.ts';
import { addInit } from './commands/init.ts';
import { addNode } from './commands/node.ts';
import { addNodes } from './commands/nodes.ts';
import { addRemove } from './commands/remove.ts';
import { addReplace } from './commands/replace.ts';
import { addScrub } from './commands/scrub.ts';
import { addServices } from './commands/services.ts';
import { addSql } from './commands/sql.ts';
import { addStatus } from './commands/status.ts';
import { addTargets } from './commands/targets.ts';
import { addUmount } from './commands/umount.ts';
import { addUp } from './commands/up.ts';
import { addVerify } from './commands/verify.ts';
import { addVersion } from './commands/version.ts';

/** A wrong word on the command line is refused like everything else: in one line that says what to do. */
function inOneLine(text: string): string {
  const said = text
    .replace(/^error: /, '')
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ');
  return `${said} (catena --help, or catena COMMAND --help, shows what there is)`;
}

/** What the operating system refused (a folder that cannot be read, a disk that fails) is no bug of ours. */
function ofTheSystem(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

const program = new Command('catena')
  .description('A parallel file system for clusters of SSD servers, with SQL jobs that run next to the data.')
  .enablePositionalOptions()
  .configureOutput({ outputError: (text, write) => write(`catena: ${inOneLine(text)}\n`) })
  .exitOverride();

for (const add of [
  addUp,
  addDown,
  addStatus,
  addInit,
  addNodes,
  addChains,
  addTargets,
  addAdd,
  addDrain,
  addReplace,
  addRemove,
  addGrow,
  addFs,
  addNode,
  addServices,
  addUmount,
  addSql,
  addBench,
  addDemo,
  addScrub,
  addVerify,
  addVersion,
]) {
  add(program);
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
  const failure = ofTheSystem(error) ? fromSystemError(error, process.argv[2] ?? 'catena') : error;
  if (!(failure instanceof FsError)) throw error;
  console.error(`catena: ${failure.message} [${failure.code}]`);
  process.exit(1);
}
