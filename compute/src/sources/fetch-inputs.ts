// Copies the files that a source names from a FileTransfer to scratch, each once per session. Patterns know
// `*`, `?` and `**`.
import { mkdirSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { FsError } from '@catena/core';
import type { FileTransfer, RemoteEntry } from './file-transfer.ts';

/** Deeper trees are more likely loops than data. */
const depthMax = 32;

export class InputCopies {
  readonly #transfer: FileTransfer;
  readonly #directory: string;
  readonly #copied = new Map<string, string>();
  bytes = 0;

  constructor(transfer: FileTransfer, directory: string) {
    this.#transfer = transfer;
    this.#directory = directory;
  }

  /** The local path of each file that matches. */
  async fetch(patterns: readonly string[], recursive: boolean): Promise<string[]> {
    const paths: string[] = [];
    for (const pattern of patterns) {
      const found = await this.#expand(posix.resolve('/', pattern), recursive);
      if (found.length === 0) {
        throw new FsError(
          'BAD_INPUT',
          `${pattern}: no file matches in ${this.#transfer.name}; check the path`,
        );
      }
      for (const path of found) paths.push(await this.#copy(path));
    }
    return paths;
  }

  async #copy(path: string): Promise<string> {
    const known = this.#copied.get(path);
    if (known !== undefined) return known;
    const local = join(this.#directory, path);
    mkdirSync(dirname(local), { recursive: true });
    this.bytes += await this.#transfer.fetch(path, local);
    this.#copied.set(path, local);
    return local;
  }

  async #expand(pattern: string, recursive: boolean): Promise<string[]> {
    const found = await this.#transfer.stat(pattern);
    if (found?.isDirectory === false) return [pattern];
    const glob = found === undefined ? pattern : `${pattern}/${recursive ? '**/' : ''}*.parquet`;
    const firstWild = glob.search(/[*?]/);
    if (firstWild < 0) return [];
    const base = posix.dirname(glob.slice(0, firstWild + 1));
    const matches = globPattern(glob);
    const paths: string[] = [];
    await this.#walk(
      base,
      glob.includes('**') ? depthMax : glob.slice(base.length).split('/').length,
      (path) => {
        if (matches.test(path)) paths.push(path);
      },
    );
    return paths.sort();
  }

  async #walk(directory: string, depth: number, visit: (path: string) => void): Promise<void> {
    if (depth === 0 || (await this.#transfer.stat(directory))?.isDirectory !== true) return;
    for (const entry of await this.#transfer.list(directory))
      await this.#enter(directory, entry, depth, visit);
  }

  async #enter(
    directory: string,
    entry: RemoteEntry,
    depth: number,
    visit: (path: string) => void,
  ): Promise<void> {
    // Names that begin with a dot are unfinished results.
    if (entry.name.startsWith('.')) return;
    const path = posix.join(directory, entry.name);
    if (entry.isDirectory) await this.#walk(path, depth - 1, visit);
    else visit(path);
  }
}

export function globPattern(glob: string): RegExp {
  const text = glob.replace(/\*\*\/|\*|\?|[.+^${}()|[\]\\]/g, (token) => {
    if (token === '**/') return '(?:[^/]+/)*';
    if (token === '*') return '[^/]*';
    if (token === '?') return '[^/]';
    return `\\${token}`;
  });
  return new RegExp(`^${text}$`);
}
