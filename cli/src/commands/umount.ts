// catena umount DIR: takes a mount away, also one whose process died.
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { FsError } from '@catena/core';
import type { Command } from 'commander';
import { isMounted } from '../cluster/status.ts';

export function addUmount(program: Command): void {
  program
    .command('umount')
    .description('unmount a mount point, also one whose process died')
    .argument('<dir>', 'the mount point')
    .action((directory: string) => {
      const path = resolve(directory);
      if (!isMounted(path)) throw new FsError('INVALID_ARGUMENT', `${path} is not a mount point`);
      const command = process.getuid?.() === 0 ? ['umount', path] : ['fusermount3', '-u', path];
      const done = spawnSync(command[0] ?? '', command.slice(1), { encoding: 'utf8' });
      if (done.status !== 0) {
        throw new FsError(
          'BUSY',
          `${path}: ${done.stderr.trim()}; end what uses it (fuser -vm ${path}), then try again`,
        );
      }
    });
}
