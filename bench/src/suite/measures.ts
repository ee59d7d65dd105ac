// The canonical figures, one function each. Each takes its baseline in the same run, and says the machine's
// noise by repeating.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCreates } from '@catena/native';
import { type BenchOptions, defaults } from '../options.ts';
import { type BenchReport, runBench } from '../report.ts';
import { dropPages, type MeasuredCluster, withMemoryFileSystem } from './cluster.ts';
import { type Figure, number } from './figure.ts';
import { bytesWritten, pssMiB } from './processes.ts';

const MiB = 1 << 20;
const GiB = 1 << 30;
/** Middle of three: one disturbed round does not decide. */
const rounds = 3;
/** Longer than a gigabyte's chunks take to go. */
const settleMs = 10_000;

function median(values: readonly number[]): number {
  return [...values].sort((first, second) => first - second)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Runs a job and fails loudly: a figure of a run with errors would be a lie. */
async function run(options: Partial<BenchOptions>): Promise<BenchReport> {
  const report = await runBench({ ...defaults, ...options });
  if (report.errors > 0) throw new Error(`${report.errors} errors: ${report.firstError}`);
  return report;
}

/** Median CPU seconds of all services and the mount per GiB, and median MiB/s. */
async function perGiB(
  cluster: MeasuredCluster,
  options: Partial<BenchOptions>,
  before: () => void,
): Promise<{ cpu: number; rate: number }> {
  const cpu: number[] = [];
  const rate: number[] = [];
  for (let round = 0; round < rounds; round++) {
    before();
    const started = cluster.cpuSeconds();
    const report = await run({ directory: cluster.mount, sizeBytes: GiB, ...options });
    cpu.push((cluster.cpuSeconds() - started) / (report.bytes / GiB));
    rate.push(report.bytesPerSecond / MiB);
  }
  return { cpu: median(cpu), rate: median(rate) };
}

/** Three plain writers on the local file system, one after another's data three times: what three copies cost without us. */
async function plainWriters(folder: string): Promise<number> {
  const place = join(folder, 'plain');
  mkdirSync(place);
  const cpu: number[] = [];
  for (let round = 0; round < rounds; round++) {
    dropPages();
    const report = await run({ directory: place, rw: 'write', jobs: 3, sizeBytes: GiB });
    cpu.push(report.cpuMs / 1000);
  }
  rmSync(place, { recursive: true });
  return median(cpu);
}

export async function sequential(cluster: MeasuredCluster, folder: string): Promise<Figure[]> {
  const plain = await plainWriters(folder);
  const large = await perGiB(cluster, { rw: 'write' }, dropPages);
  const read = await perGiB(cluster, { rw: 'read' }, dropPages);
  const small = await perGiB(cluster, { rw: 'write', blockBytes: 128 << 10 }, dropPages);
  return [
    {
      name: 'sequential write 1 GiB, 1 MiB a write, fsync at the end: CPU s/GiB',
      value: large.cpu,
      unit: '',
      goal: { atMost: 7 },
      baseline: `three plain writers: ${number(plain)}; ${number(large.rate)} MiB/s`,
    },
    {
      name: 'the same, 128 KiB a write',
      value: small.cpu,
      unit: '',
      baseline: `${number(small.rate)} MiB/s`,
    },
    {
      name: 'sequential read 1 GiB, page cache dropped: CPU s/GiB',
      value: read.cpu,
      unit: '',
      goal: { atMost: 3 },
      baseline: `${number(read.rate)} MiB/s`,
    },
  ];
}

export async function shareOfTcp(cluster: MeasuredCluster): Promise<Figure> {
  const job = { rw: 'read', blockBytes: MiB, depth: 8, sizeBytes: 512 * MiB } as const;
  const client = { ...job, engine: 'client', directory: '/', managers: [cluster.manager] } as const;
  await run(client); // makes the file, and warms the servers' caches
  const ceiling: number[] = [];
  const reached: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ceiling.push((await run({ ...job, engine: 'noop', sizeBytes: 2 * GiB })).bytesPerSecond);
    reached.push((await run({ ...client, runtimeMs: 2_000 })).bytesPerSecond);
  }
  return {
    name: 'client reads, depth 8, servers warm: share of the loopback TCP ceiling',
    value: (100 * median(reached)) / median(ceiling),
    unit: '%',
    goal: { atLeast: 60 },
    baseline: `${number(median(reached) / MiB)} of ${number(median(ceiling) / MiB)} MiB/s`,
  };
}

export async function creates(cluster: MeasuredCluster, folder: string): Promise<Figure> {
  const ours: number[] = [];
  const memory: number[] = [];
  const runtimeMs = 3_000;
  // What the measures before removed is still being removed, and a service that just started is still being compiled.
  await sleep(settleMs);
  await runCreates({ directory: cluster.mount, runtimeMs });
  for (let round = 0; round < rounds; round++) {
    ours.push((await runCreates({ directory: cluster.mount, runtimeMs })).operationsPerSecond);
    const mountpoint = join(folder, 'memory');
    await withMemoryFileSystem(mountpoint, async () => {
      memory.push((await runCreates({ directory: mountpoint, runtimeMs })).operationsPerSecond);
    });
  }
  return {
    name: 'create + close a second, one process, through the mount: share of a FUSE file system in memory',
    value: (100 * median(ours)) / median(memory),
    unit: '%',
    goal: { atLeast: 12 },
    baseline: `${number(median(ours))} of ${number(median(memory))} a second`,
  };
}

/** The file is as large as that of other benchmarks of network file systems, and laid out before. */
const randomJob = { blockBytes: 4096, sizeBytes: GiB, runtimeMs: 8_000, fsyncAtEnd: false } as const;
const largeJob = { rw: 'write', blockBytes: MiB, sizeBytes: GiB, fsyncAtEnd: false } as const;

const jobs = [
  { name: 'randread 4 KiB, depth 1', options: { ...randomJob, rw: 'randread', depth: 1 } },
  { name: 'randread 4 KiB, depth 32', options: { ...randomJob, rw: 'randread', depth: 32 }, atLeast: 13_600 },
  { name: 'randwrite 4 KiB, depth 1', options: { ...randomJob, rw: 'randwrite', depth: 1 } },
  {
    name: 'randwrite 4 KiB, depth 32',
    options: { ...randomJob, rw: 'randwrite', depth: 32 },
    atLeast: 8_400,
  },
  { name: 'write 1 MiB, depth 1', options: { ...largeJob, depth: 1 } },
] as const;

/**
 * Single operations past the page cache of the mount: without it a read would be answered by this host's memory,
 * and the kernel would put the writes of one file in a row. The servers' caches are dropped before each job. Goals:
 * twice what MooseFS 3 with three copies does on such a machine.
 */
export async function operations(cluster: MeasuredCluster, folder: string): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, options, ...goal } of jobs) {
    // Lays the file out, which must not be counted below.
    await run({ directory: cluster.mount, direct: true, ...options, runtimeMs: 1 });
    dropPages();
    const [cpu, disk] = [cluster.cpuSeconds(), bytesWritten(folder)];
    const report = await run({ directory: cluster.mount, direct: true, ...options });
    const cpuUs = ((cluster.cpuSeconds() - cpu) * 1e6) / report.operations;
    execFileSync('sync');
    const diskBytes = (bytesWritten(folder) - disk) / report.bytes;
    const { p50, p99 } = report.latencyUs;
    const writes = options.rw !== 'randread';
    figures.push({
      name: `${name}, through the mount, O_DIRECT`,
      value: report.operationsPerSecond,
      unit: '/s',
      ...('atLeast' in goal && { goal }),
      baseline:
        `median ${number(p50)} µs, p99 ${number(p99)} µs; ${number(cpuUs)} CPU µs each` +
        (writes ? `; ${number(diskBytes)} bytes to the disk for each, in three copies` : ''),
      details: { p50Us: p50, p99Us: p99, cpuUs, ...(writes && { diskBytesPerByte: diskBytes }) },
    });
  }
  return figures;
}

/** Memory while the jobs of `load` run: the largest of what is seen ten times a second. */
export async function memory(
  cluster: MeasuredCluster,
  idleMiB: number,
  load: () => Promise<void>,
): Promise<Figure[]> {
  let busiest = 0;
  const timer = setInterval(() => {
    busiest = Math.max(busiest, pssMiB(cluster.pids));
  }, 100);
  await load();
  clearInterval(timer);
  return [
    {
      name: 'the whole idle cluster with its mount, PSS',
      value: idleMiB,
      unit: 'MiB',
      goal: { atMost: 600 },
    },
    { name: 'the same under the bench', value: busiest, unit: 'MiB', goal: { atMost: 1024 } },
  ];
}
