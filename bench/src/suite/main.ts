// `npm run bench`: brings up a cluster, takes every figure with its baseline, prints the table, and keeps
// them as JSON under bench/results and as the table of the README. `--only NAME,...` takes some of them and
// keeps nothing.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaults } from '../options.ts';
import { runBench } from '../report.ts';
import { MeasuredCluster, makeFolder, root } from './cluster.ts';
import { type Figure, formatTable } from './figure.ts';
import { creates, memory, operations, sequential, shareOfTcp } from './measures.ts';
import { metadataCreates, shuffle } from './programs.ts';

/** Everything has settled: chains serve, caches of the start are gone. */
const settleMs = 5_000;
const basePort = 27_400;

const only = /^--only=(.*)$/.exec(process.argv[2] ?? '')?.[1]?.split(',');
const wanted = (name: string): boolean => only === undefined || only.includes(name);

if (process.getuid?.() !== 0) {
  console.error('npm run bench: run it as root: it mounts, and drops the page cache before it reads');
  process.exit(2);
}

const machine = {
  date: new Date().toISOString(),
  commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim(),
  cores: availableParallelism(),
  processor: cpus()[0]?.model ?? 'unknown',
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  loadBefore: loadavg()
    .map((value) => value.toFixed(2))
    .join(' '),
  copies: 3,
  durability: 'write: in the page cache of three processes; fsync: on the disk of all',
};

const folder = makeFolder();
const figures: Figure[] = [];
const cluster = new MeasuredCluster(folder, basePort);
try {
  await sleep(settleMs);
  const idle = cluster.pssMiB();
  const load = async (): Promise<void> => {
    if (wanted('sequential')) figures.push(...(await sequential(cluster, folder)));
    if (wanted('tcp')) figures.push(await shareOfTcp(cluster));
    if (wanted('creates')) figures.push(await creates(cluster, folder));
    if (wanted('operations')) figures.push(...(await operations(cluster, folder)));
    if (wanted('memory'))
      await runBench({ ...defaults, directory: cluster.mount, rw: 'write', jobs: 4, depth: 4 });
  };
  const used = await memory(cluster, idle, load);
  if (wanted('metadata')) figures.push(...metadataCreates(folder));
  if (wanted('shuffle')) figures.push(...shuffle(cluster.mount));
  figures.push(...used);
} finally {
  cluster.stop();
  rmSync(folder, { recursive: true, force: true });
}

const machineText = `${machine.date.slice(0, 10)}, ${machine.cores} cores of ${machine.processor}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, \
load before ${machine.loadBefore}, commit ${machine.commit}; ${machine.copies} copies; ${machine.durability}`;
const table = `${formatTable(figures)}\n\nMeasured with \`npm run bench\`: ${machineText}.\n`;
console.log(table);
if (only === undefined) {
  const results = join(root, 'bench/results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'latest.json'), `${JSON.stringify({ machine, figures }, undefined, 2)}\n`);
  const readme = join(root, 'README.md');
  const text = readFileSync(readme, 'utf8');
  const [start, end] = ['<!-- figures -->\n', '<!-- /figures -->\n'];
  const [head, tail] = [text.split(start)[0] ?? '', text.split(end)[1] ?? ''];
  writeFileSync(readme, `${head}${start}${table}${end}${tail}`);
}
