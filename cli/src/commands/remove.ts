// catena remove: forgets a storage server that was drained, and stops it. Its folder stays.
import { join } from 'node:path';
import { FsError, message } from '@catena/core';
import type { Command } from 'commander';
import { nodeOf, orderChange } from '../cluster/changes.ts';
import { requireCluster, saveCluster } from '../cluster/description.ts';
import { requireServer, withoutServer } from '../cluster/servers.ts';
import { carryOut } from './carry-out.ts';
import { directoryOption } from './options.ts';

export function addRemove(program: Command): void {
  program
    .command('remove')
    .description('forget a drained storage server and stop it; its folder stays')
    .argument('<node>', 'storage node, such as 2 or storage-2')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (text: string, options: { dir: string; json?: true }) => {
      const cluster = requireCluster(options.dir);
      const node = nodeOf(text);
      const { name } = requireServer(cluster, node);
      const place = { node, disk: undefined };
      const reply = await orderChange(cluster, { action: message.ChangeAction.ACTION_REMOVE, place }).catch(
        (error: unknown): Pick<message.ChangeReply, 'change' | 'detail'> => {
          // An order that was interrupted after the manager had it: what is left is to stop the server.
          if (!(error instanceof FsError) || error.code !== 'NOT_FOUND') throw error;
          return { change: undefined, detail: `node ${node} is forgotten` };
        },
      );
      saveCluster(withoutServer(cluster, node));
      const detail = `${reply.detail}; ${join(cluster.directory, name)} may be deleted`;
      await carryOut(cluster, { ...reply, detail }, options);
    });
}
