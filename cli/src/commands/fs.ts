// catena fs: files of a cluster without a mount, through the Node SDK. Paths are absolute in the file system.
import { FsError } from '@catena/core';
import { FileSystem } from '@catena/fuse-client/sdk';
import type { Command } from 'commander';
import { requireCluster } from '../cluster/description.ts';
import { managersOf } from '../cluster/managers.ts';
import { directoryOption, wholeNumber } from './options.ts';

type Action = (files: FileSystem, paths: string[], flags: Flags) => Promise<void>;

interface Flags {
  dir: string;
  manager?: string;
  json?: true;
  recursive?: true;
  parents?: true;
}

interface Verb {
  readonly name: string;
  readonly sentence: string;
  readonly parameters: string;
  readonly act: Action;
}

const verbs: readonly Verb[] = [
  { name: 'ls', sentence: 'list a directory (the root)', parameters: '[path]', act: list },
  { name: 'stat', sentence: 'show what a path is', parameters: '<path>', act: stat },
  { name: 'cat', sentence: 'write a file to standard output', parameters: '<path>', act: cat },
  { name: 'put', sentence: 'copy a local file in', parameters: '<local> <path>', act: put },
  { name: 'get', sentence: 'copy a file out', parameters: '<path> <local>', act: get },
  { name: 'mkdir', sentence: 'make a directory', parameters: '<path>', act: makeDirectory },
  { name: 'mv', sentence: 'rename', parameters: '<from> <to>', act: rename },
  { name: 'rm', sentence: 'remove a file or a directory', parameters: '<path>', act: remove },
  {
    name: 'locate',
    sentence: 'show which nodes hold which part of a file',
    parameters: '<path>',
    act: locate,
  },
  { name: 'df', sentence: 'show capacity and use', parameters: '', act: space },
];

export function addFs(program: Command): void {
  const fs = program
    .command('fs')
    .description('files without a mount: ls, stat, cat, put, get, mkdir, mv, rm, locate, df');
  for (const verb of verbs) {
    fs.command(`${verb.name} ${verb.parameters}`.trim())
      .description(verb.sentence)
      .option(...directoryOption)
      .option('--manager <address>', "host:port of the manager, instead of the cluster's folder")
      .option('--json', 'print JSON')
      .option('-r, --recursive', 'rm: with everything below')
      .option('-p, --parents', 'mkdir: with missing parents; rm: nothing there is fine')
      .option('--timeout <seconds>', 'give up after this', wholeNumber(1, 3600), 60)
      .action(async (...given: unknown[]) => {
        const flags = given.at(-2) as Flags & { timeout: number };
        const managers =
          flags.manager === undefined ? managersOf(requireCluster(flags.dir)) : [flags.manager];
        const files = await FileSystem.connect({ managers, ioTimeoutMs: flags.timeout * 1_000 });
        try {
          await verb.act(files, given.slice(0, -2) as string[], flags);
        } finally {
          await files.stop();
        }
      });
  }
}

/** 64-bit numbers as text: JSON numbers would round them. */
function print(value: unknown): void {
  console.log(
    JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? each.toString() : each), 2),
  );
}

async function list(files: FileSystem, [path = '/']: string[], flags: Flags): Promise<void> {
  const entries = await files.list(path);
  if (flags.json === true) {
    print(entries);
    return;
  }
  for (const { name, kind, stats } of entries) {
    console.log(`${kind.padEnd(10)} ${`${stats?.size ?? ''}`.padStart(14)}  ${printable(name)}`);
  }
}

/** One line whatever the name holds, and nothing that a terminal would obey: control characters as ls -b has them. */
function printable(name: string): string {
  return name.replace(
    /[\p{Cc}\\]/gu,
    (character) =>
      `\\${character === '\\' ? '\\' : (character.codePointAt(0) ?? 0).toString(8).padStart(3, '0')}`,
  );
}

async function stat(files: FileSystem, [path = '/']: string[]): Promise<void> {
  print(await files.statLink(path));
}

async function cat(files: FileSystem, [path = '']: string[]): Promise<void> {
  if ((await files.stat(path)).kind === 'directory') throw new FsError('IS_DIRECTORY', path);
  const file = await files.open(path);
  try {
    for (let offset = 0n; ; ) {
      const piece = await file.read(offset, 1 << 20);
      if (piece.length === 0) break;
      offset += BigInt(piece.length);
      if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
  } finally {
    await file.close();
  }
}

async function put(files: FileSystem, [local = '', path = '']: string[]): Promise<void> {
  const length = await files.copyIn(local, path, { durable: true });
  console.log(`${length} bytes to ${path}`);
}

async function get(files: FileSystem, [path = '', local = '']: string[]): Promise<void> {
  const length = await files.copyOut(path, local);
  console.log(`${length} bytes to ${local}`);
}

async function makeDirectory(files: FileSystem, [path = '']: string[], flags: Flags): Promise<void> {
  await files.makeDirectory(path, { recursive: flags.parents === true });
}

async function rename(files: FileSystem, [from = '', to = '']: string[]): Promise<void> {
  await files.rename(from, to);
}

async function remove(files: FileSystem, [path = '']: string[], flags: Flags): Promise<void> {
  await files.remove(path, { recursive: flags.recursive === true, force: flags.parents === true });
}

async function locate(files: FileSystem, [path = '']: string[]): Promise<void> {
  print(await files.locate(path));
}

async function space(files: FileSystem): Promise<void> {
  print(await files.statFileSystem());
}
