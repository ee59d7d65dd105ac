// catena remove: forgets a storage server that was drained, and stops it. Its folder stays.
import { join } from 'node:path';
import { FsError, message } from '@catena/core';
import type { Command } from 'commander';
import { nodeOf, orderChange } from '../cluster/changes.ts';
import { type ClusterDescription, requireCluster, saveCluster } from '../cluster/description.ts';
import { requireServer, withoutServer } from '../cluster/servers.ts';
import { inTurn } from '../cluster/turn.ts';
import { carryOut } from './carry-out.ts';
import { directoryOption } from './options.ts';

type Reply = Pick<message.ChangeReply, 'change' | 'detail'>;

export function addRemove(program: Command): void {
  program
    .command('remove')
    .description('forget a drained storage server and stop it; its folder stays')
    .argument('<node>', 'storage node, such as 2 or storage-2')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (text: string, options: { dir: string; json?: true }) => {
      const reply = await inTurn(options.dir, () => remove(requireCluster(options.dir), nodeOf(text)));
      await carryOut(requireCluster(options.dir), reply, options);
    });
}

async function remove(cluster: ClusterDescription, node: number): Promise<Reply> {
  const { name } = requireServer(cluster, node);
  const order = { action: message.ChangeAction.ACTION_REMOVE, place: { node, disk: undefined } };
  const reply = await orderChange(cluster, order).catch((error: unknown): Reply => {
    // An order that was interrupted after the manager had it: what is left is to stop the server.
    if (!(error instanceof FsError) || error.code !== 'NOT_FOUND') throw error;
    return { change: undefined, detail: `node ${node} is forgotten` };
  });
  saveCluster(withoutServer(cluster, node));
  return { ...reply, detail: `${reply.detail}; ${join(cluster.directory, name)} may be deleted` };
}
