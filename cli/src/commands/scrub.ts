// catena scrub: every target reads all it holds and compares it with its checksums; what is damaged is repaired
// from another copy. Starts a pass, or shows how far it is.
import { setTimeout as sleep } from 'node:timers/promises';
import { message, rpcs } from '@catena/core';
import type { Command } from 'commander';
import { type ClusterConnections, withCluster } from '../cluster/connections.ts';
import { requireCluster } from '../cluster/description.ts';
import { directoryOption } from './options.ts';

/** Between two looks at a pass that is waited for. */
const lookMs = 200;

interface TargetScrub {
  readonly node: number;
  readonly target: string;
  readonly chain: number;
  readonly running: boolean;
  readonly startedMs: number;
  /** Of the last pass that ended; 0: none did. */
  readonly finishedMs: number;
  readonly chunks: number;
  readonly bytes: number;
  /** Chunks that the pass found damaged. */
  readonly found: number;
  /** Damaged chunks that are known and not repaired. */
  readonly damaged: number;
}

export function addScrub(program: Command): void {
  program
    .command('scrub')
    .description('have every target read and check all it holds, and repair what is damaged')
    .option(...directoryOption)
    .option('--status', 'show how far it is, and start nothing')
    .option('--wait', 'until all have ended; exit code 0 only if nothing is damaged then')
    .option('--json', 'print JSON')
    .action(async (options: { dir: string; status?: true; wait?: true; json?: true }) => {
      const scrubs = await withCluster(requireCluster(options.dir), async (cluster) => {
        let now = await ask(cluster, options.status !== true);
        while (options.wait === true && now.some((scrub) => scrub.running)) {
          await sleep(lookMs);
          now = await ask(cluster, false);
        }
        return now;
      });
      if (options.wait === true && scrubs.some((scrub) => scrub.damaged > 0)) process.exitCode = 1;
      if (options.json === true) console.log(JSON.stringify(scrubs, undefined, 2));
      else for (const scrub of scrubs) console.log(inWords(scrub));
    });
}

async function ask({ routing, connectTo }: ClusterConnections, start: boolean): Promise<TargetScrub[]> {
  const isStorage = (node: message.Node): boolean =>
    node.kind === message.NodeKind.NODE_STORAGE && node.alive;
  const ofNode = async (node: message.Node): Promise<TargetScrub[]> => {
    const { targets } = await (await connectTo(node.id)).call(rpcs.scrub, { start });
    return targets.map((report) => toScrub(node.id, report));
  };
  return (await Promise.all(routing.nodes.filter(isStorage).map(ofNode))).flat();
}

function toScrub(node: number, report: message.TargetReport): TargetScrub {
  const { scrub } = report;
  return {
    node,
    target: `${report.target}`,
    chain: report.chain,
    running: scrub?.running ?? false,
    startedMs: Number(scrub?.startedMs ?? 0n),
    finishedMs: Number(scrub?.finishedMs ?? 0n),
    chunks: Number(scrub?.chunks ?? 0n),
    bytes: Number(scrub?.bytes ?? 0n),
    found: Number(scrub?.damaged ?? 0n),
    damaged: Number(report.damagedChunks),
  };
}

function inWords(scrub: TargetScrub): string {
  const at = (ms: number): string => new Date(ms).toISOString();
  const when = scrub.running
    ? `running since ${at(scrub.startedMs)}`
    : scrub.finishedMs > 0
      ? `ended ${at(scrub.finishedMs)}`
      : 'never scrubbed';
  const read = `${scrub.chunks} chunks, ${(scrub.bytes / 2 ** 20).toFixed(1)} MiB read`;
  const found = `${scrub.found} found damaged, ${scrub.damaged} not repaired`;
  return `node ${scrub.node} target ${scrub.target} chain ${scrub.chain}: ${when}; ${read}; ${found}`;
}
