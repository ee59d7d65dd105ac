// Figures that other packages measure themselves: each is a program that prints one line of JSON.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './cluster.ts';
import { type Figure, number } from './figure.ts';

function measure(program: string, ...parameters: string[]): unknown {
  const text = execFileSync(process.execPath, [join(root, program), ...parameters], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 16 << 20,
  });
  return JSON.parse(text.trim().split('\n').at(-1) ?? '');
}

interface Creates {
  readonly name: string;
  readonly inFlight: number;
  readonly perSecond: number;
  readonly p99Us: number;
  readonly serverCpuUs: number;
}

/** The metadata service alone, over its own protocol, with its log and store on the disk to be measured. */
export function metadataCreates(folder: string): Figure[] {
  const program = 'meta-service/dist/bench/creates.js';
  const results = measure(program, '--json', '--directory', join(folder, 'meta-creates')) as Creates[];
  const found = results.find((each) => each.name === 'creates' && each.inFlight > 1);
  if (found === undefined) throw new Error(`${program} measured no creates`);
  return [
    {
      name: `metadata service: creates a second over its own protocol, ${found.inFlight} in flight, embedded log`,
      value: found.perSecond,
      unit: '/s',
      goal: { atLeast: 15_000 },
      baseline: `p99 ${number(found.p99Us)} µs, ${number(found.serverCpuUs)} µs of CPU each`,
    },
  ];
}

interface Shuffle {
  readonly ratio: number;
  readonly plainSeconds: number;
  readonly shuffleSeconds: number;
  readonly isEqual: boolean;
}

/** Hash shuffle and group-by of generated rows on the mount; the program compares the results, too. */
export function shuffle(mount: string): Figure[] {
  const found = measure('compute/dist/bench/shuffle.js', '--directory', mount) as Shuffle;
  if (!found.isEqual) throw new Error('the shuffled result differs from that of plain DuckDB');
  return [
    {
      name: 'hash shuffle + group-by of 10 M rows on the mount, against one DuckDB without a shuffle',
      value: found.ratio,
      unit: '× its time',
      goal: { atMost: 5 },
      baseline: `${number(found.shuffleSeconds)} s to ${number(found.plainSeconds)} s`,
    },
  ];
}
