// catena verify: every member of every chain reads all its chunks, and what they read is compared: same chunks,
// versions, lengths, and the same bytes, by a digest of 128 bits of each chunk's bytes that each member takes
// from its own disk. (The checksums of the stored blocks find damage; they do not take part in the comparison.)
import { message, type RpcClient, rpcs } from '@catena/core';
import type { Command } from 'commander';
import { withCluster } from '../cluster/connections.ts';
import { type ClusterDescription, requireCluster } from '../cluster/description.ts';
import { directoryOption } from './options.ts';

/** Chunks of one answer: each is read whole for its checksum, and the answer must come within the rpc's deadline. */
const pageChunks = 64;

interface Difference {
  readonly chain: number;
  readonly chunk: string;
  readonly what: string;
}

interface Verified {
  readonly chains: number;
  readonly chunks: number;
  readonly differences: readonly Difference[];
}

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('read every copy of every chunk and compare them; exit code 0 only if all are equal')
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; json?: true }) => {
      const verified = await verifyCluster(requireCluster(options.dir));
      if (verified.differences.length > 0) process.exitCode = 1;
      if (options.json === true) {
        console.log(JSON.stringify(verified, undefined, 2));
        return;
      }
      for (const { chain, chunk, what } of verified.differences)
        console.log(`chain ${chain}, chunk ${chunk}: ${what}`);
      console.log(
        verified.differences.length === 0
          ? `${verified.chunks} chunks in ${verified.chains} chains: all copies are equal`
          : `${verified.differences.length} differences in ${verified.chunks} chunks`,
      );
    });
}

async function verifyCluster(cluster: ClusterDescription): Promise<Verified> {
  return await withCluster(cluster, async ({ routing, connectTo }) => {
    const differences: Difference[] = [];
    let chunks = 0;
    for (const chain of routing.chains) {
      const members = chain.members.filter((member) => member.state === message.PublicState.PUBLIC_SERVING);
      const lists = await Promise.all(
        members.map(async (member) => ({
          target: member.target,
          found: await listAll(await connectTo(member.node), chain, member.target),
        })),
      );
      chunks += compare(chain.id, lists, differences);
    }
    return { chains: routing.chains.length, chunks, differences };
  });
}

/** Every chunk of one target by its id, with what must be equal, in words. */
async function listAll(
  client: RpcClient,
  chain: message.Chain,
  target: bigint,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let from: message.ChunkId = { inode: 0n, index: 0n };
  for (;;) {
    const reply = await client.call(rpcs.listChunks, {
      chain: chain.id,
      chainVersion: chain.version,
      target,
      from,
      limit: pageChunks,
      withChecksum: true,
    });
    for (const info of reply.chunks) {
      const { chunk, version, length, digest, removed, corrupt } = info;
      if (chunk === undefined || removed) continue;
      const content = corrupt
        ? 'its bytes do not match their checksum'
        : `digest ${Buffer.from(digest).toString('hex')}`;
      found.set(
        `${chunk.inode}/${chunk.index}`,
        `version ${version?.chain}.${version?.number}, ${length} bytes, ${content}`,
      );
    }
    const last = reply.chunks.at(-1)?.chunk;
    if (!reply.more || last === undefined) return found;
    from = { inode: last.inode, index: last.index + 1n };
  }
}

/** Adds what differs; returns how many chunks there are. */
function compare(
  chain: number,
  lists: readonly { target: bigint; found: Map<string, string> }[],
  differences: Difference[],
): number {
  const all = new Set(lists.flatMap((list) => [...list.found.keys()]));
  for (const chunk of all) {
    const copies = lists.map((list) => `target ${list.target}: ${list.found.get(chunk) ?? 'absent'}`);
    const contents = new Set(lists.map((list) => list.found.get(chunk)));
    const corrupt = copies.some((copy) => copy.includes('checksum'));
    if (contents.size > 1 || corrupt) differences.push({ chain, chunk, what: copies.join('; ') });
  }
  return all.size;
}
