// A FileTransfer over a directory of this machine: for directories that workers cannot reach by the same
// path, and the reference for other implementations.
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fromSystemError } from '@catena/core';
import type { FileTransfer, RemoteEntry } from './file-transfer.ts';

export class DirectoryTransfer implements FileTransfer {
  readonly name: string;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.name = `directory ${root}`;
  }

  async stat(path: string): Promise<RemoteEntry | undefined> {
    const found = guard(path, () => statSync(this.#at(path), { throwIfNoEntry: false }));
    if (found === undefined) return undefined;
    return { name: basename(path), isDirectory: found.isDirectory(), bytes: found.size };
  }

  async list(directory: string): Promise<RemoteEntry[]> {
    const names = guard(directory, () => readdirSync(this.#at(directory)));
    const entries = await Promise.all(names.map((name) => this.stat(join(directory, name))));
    return entries.filter((entry) => entry !== undefined);
  }

  async fetch(path: string, localPath: string): Promise<number> {
    return guard(path, () => {
      copyFileSync(this.#at(path), localPath);
      return statSync(localPath).size;
    });
  }

  async store(localPath: string, path: string): Promise<number> {
    return guard(path, () => {
      copyFileSync(localPath, this.#at(path));
      const fd = openSync(this.#at(path), 'r+');
      fsyncSync(fd);
      closeSync(fd);
      return statSync(localPath).size;
    });
  }

  async makeDirectory(path: string): Promise<void> {
    guard(path, () => mkdirSync(this.#at(path)));
  }

  async rename(from: string, to: string): Promise<void> {
    guard(from, () => renameSync(this.#at(from), this.#at(to)));
  }

  async remove(path: string): Promise<void> {
    guard(path, () => rmSync(this.#at(path), { recursive: true, force: true }));
  }

  #at(path: string): string {
    return join(this.#root, path);
  }
}

function guard<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw fromSystemError(error, path);
  }
}
