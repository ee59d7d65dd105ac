// catena bench: fio's usual options against the mount, the client, the bare protocol, or any path.
import {
  type BenchOptions,
  type BenchReport,
  defaults,
  engines,
  formatReport,
  oneOf,
  parseSize,
  parseTime,
  patterns,
  runBench,
} from '@catena/bench';
import { FsError } from '@catena/core';
import type { Command } from 'commander';
import { findCluster } from '../cluster/description.ts';
import { managersOf } from '../cluster/managers.ts';
import { isMounted } from '../cluster/status.ts';
import { directoryOption, wholeNumber } from './options.ts';

interface Flags {
  dir: string;
  directory?: string;
  engine: BenchOptions['engine'];
  rw: BenchOptions['rw'];
  bs: number;
  iodepth: number;
  numjobs: number;
  size: number;
  runtime: number;
  fsync: number;
  endFsync: boolean;
  direct?: true;
  verify?: true;
  seed: number;
  quick?: true;
  json?: true;
}

export function addBench(program: Command): void {
  program
    .command('bench')
    .description(
      'measure bandwidth, operations a second and latencies, with options like those of fio; its files bench.N stay',
    )
    .option(...directoryOption)
    .option(
      '--directory <path>',
      'posix: any folder (default: the mount); client: a folder in Catena (default: /)',
    )
    .option('--engine <name>', `one of ${engines.join(', ')}`, oneOf(engines, 'engine'), defaults.engine)
    .option('--rw <pattern>', `one of ${patterns.join(', ')}`, oneOf(patterns, 'rw'), defaults.rw)
    .option('--bs <size>', 'bytes of each operation', (text) => parseSize(text, 'bs'), defaults.blockBytes)
    .option('--iodepth <n>', 'operations in the air per job', wholeNumber(1, 1024), defaults.depth)
    .option('--numjobs <n>', 'jobs, each on a file of its own', wholeNumber(1, 256), defaults.jobs)
    .option(
      '--size <size>',
      "bytes of each job's file",
      (text) => parseSize(text, 'size'),
      defaults.sizeBytes,
    )
    .option(
      '--runtime <time>',
      'stop after this long; without it each block is done once',
      (text) => parseTime(text, 'runtime'),
      0,
    )
    .option('--fsync <n>', 'operations between two fsyncs', wholeNumber(0, 1e9), 0)
    .option('--no-end-fsync', 'no fsync after the last write')
    .option('--direct', 'posix: past the page cache (O_DIRECT)')
    .option('--verify', 'check what is read; read back what was written')
    .option('--seed <n>', 'seed of content and offsets', wholeNumber(0, 2 ** 31), defaults.seed)
    .option('--quick', 'a first impression in some ten seconds: write, read, random 4 KiB')
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => {
      const cluster = findCluster(flags.dir);
      const base: BenchOptions = {
        engine: flags.engine,
        directory: flags.directory ?? defaultDirectory(flags, cluster?.mountpoint),
        managers: cluster === undefined ? defaults.managers : managersOf(cluster),
        rw: flags.rw,
        blockBytes: flags.bs,
        depth: flags.iodepth,
        jobs: flags.numjobs,
        sizeBytes: flags.size,
        runtimeMs: flags.runtime,
        fsyncEvery: flags.fsync,
        fsyncAtEnd: flags.endFsync,
        verify: flags.verify === true,
        seed: flags.seed,
        direct: flags.direct === true,
      };
      const runs = flags.quick === true ? quickRuns(base) : [base];
      const reports: { options: BenchOptions; report: BenchReport }[] = [];
      for (const options of runs) {
        const report = await runBench(options);
        reports.push({ options, report });
        if (report.errors > 0) process.exitCode = 1;
        if (flags.json !== true) console.log(formatReport(options, report));
      }
      if (flags.json === true) console.log(JSON.stringify(reports, undefined, 2));
    });
}

function defaultDirectory(flags: Flags, mountpoint: string | undefined): string {
  if (flags.engine !== 'posix') return '/';
  if (mountpoint !== undefined && isMounted(mountpoint)) return mountpoint;
  throw new FsError(
    'INVALID_ARGUMENT',
    'nothing is mounted; start a cluster (catena up -d) or say which --directory',
  );
}

/** Each run ends by itself within some seconds on a slow disk. */
function quickRuns(base: BenchOptions): BenchOptions[] {
  const small = { ...base, blockBytes: 4096, depth: 8, runtimeMs: 2_000, sizeBytes: 64 << 20 };
  const large = { ...base, blockBytes: 1 << 20, depth: 4, runtimeMs: 0, sizeBytes: 256 << 20 };
  return [
    { ...large, rw: 'write' },
    { ...large, rw: 'read', verify: false },
    { ...small, rw: 'randwrite' },
    { ...small, rw: 'randread' },
  ];
}
