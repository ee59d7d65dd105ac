// catena verify: every member of every chain reads all its chunks, and what they read is compared: same chunks,
// versions, lengths, and the same bytes, by a digest of 128 bits of each chunk's bytes that each member takes
// from its own disk. (The checksums of the stored blocks find damage; they do not take part in the comparison.)
import { setTimeout as sleep } from 'node:timers/promises';
import { message, rpcs } from '@catena/core';
import type { Command } from 'commander';
import { type ClusterConnections, withCluster } from '../cluster/connections.ts';
import { type Copy, compareCopies, type Difference } from '../cluster/copies.ts';
import { requireCluster } from '../cluster/description.ts';
import { directoryOption } from './options.ts';

/** Longer than an update is under way on a chain where nothing fails. */
const pauseMs = 200;

interface Verified {
  readonly chains: number;
  readonly chunks: number;
  readonly differences: readonly (Difference & { readonly chain: number })[];
  /** Copies that nobody could compare, because their targets do not serve. */
  readonly missing: readonly { readonly chain: number; readonly target: bigint }[];
}

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description(
      'read every copy of every chunk and compare them; exit code 0 only if all are there and equal',
    )
    .option(...directoryOption)
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; json?: true }) => {
      const verified = await withCluster(requireCluster(options.dir), verifyCluster);
      if (verified.differences.length + verified.missing.length > 0) process.exitCode = 1;
      if (options.json === true) {
        const targets = verified.missing.map((each) => ({ ...each, target: String(each.target) }));
        console.log(JSON.stringify({ ...verified, missing: targets }, undefined, 2));
      } else for (const line of report(verified)) console.log(line);
    });
}

function report({ chains, chunks, differences, missing }: Verified): string[] {
  const lines = [
    ...differences.map(({ chain, chunk, what }) => `chain ${chain}, chunk ${chunk}: ${what}`),
    ...missing.map(({ chain, target }) => `chain ${chain}: target ${target} does not serve, not compared`),
  ];
  if (differences.length > 0) return [...lines, `${differences.length} differences in ${chunks} chunks`];
  const equal = `${chunks} chunks in ${chains} chains: all copies `;
  if (missing.length === 0) return [`${equal}are equal`];
  const hint = 'wait until all targets serve (catena targets), then verify again';
  return [...lines, `${equal}that serve are equal, ${missing.length} are missing: ${hint}`];
}

async function verifyCluster({ routing, connectTo }: ClusterConnections): Promise<Verified> {
  const differences: Verified['differences'][number][] = [];
  const missing: Verified['missing'][number][] = [];
  let chunks = 0;
  for (const chain of routing.chains) {
    const serves = ({ state }: message.Member): boolean => state === message.PublicState.PUBLIC_SERVING;
    const others = chain.members.filter((member) => !serves(member));
    missing.push(...others.map(({ target }) => ({ chain: chain.id, target })));
    const copies = chain.members.filter(serves).map(({ node, target }): Copy => {
      const request = { chain: chain.id, chainVersion: chain.version, target, withChecksum: true };
      return {
        target,
        list: async (from, limit) =>
          await (await connectTo(node)).call(rpcs.listChunks, { ...request, from, limit }),
      };
    });
    const compared = await compareCopies(copies, () => sleep(pauseMs));
    chunks += compared.chunks;
    differences.push(...compared.differences.map((each) => ({ chain: chain.id, ...each })));
  }
  return { chains: routing.chains.length, chunks, differences, missing };
}
