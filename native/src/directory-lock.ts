// One process per directory (P3): an flock that the kernel drops when this process ends, however it ends.
import { mkdirSync } from 'node:fs';
import { FsError } from '@catena/core';
import { binding } from './binding.ts';
import type { RawDirectoryLock } from './raw.ts';

export class DirectoryLock {
  readonly #raw: RawDirectoryLock;

  /** Makes the directory if it is missing. ALREADY_RUNNING if another process holds it. */
  static acquire(directory: string): DirectoryLock {
    try {
      mkdirSync(directory, { recursive: true });
      return new DirectoryLock(binding().DirectoryLock.acquire(directory));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === 'WouldDeadlock') throw new FsError('ALREADY_RUNNING', message, { cause });
      throw new FsError('IO', message, { cause });
    }
  }

  private constructor(raw: RawDirectoryLock) {
    this.#raw = raw;
  }

  release(): void {
    this.#raw.release();
  }
}
