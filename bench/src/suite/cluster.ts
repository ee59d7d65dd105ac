// The cluster that the suite measures: three storage servers, three copies, one mount, in a folder of its
// own.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { cpuSeconds, pssMiB } from './processes.ts';

/** The checkout: this file is bench/dist/suite/cluster.js. */
export const root: string = dirname(dirname(dirname(import.meta.dirname)));

interface Status {
  supervisor: number;
  processes: { name: string; pid: number }[];
}

/** A folder on the disk to be measured (CATENA_BENCH_DIR, else the temporary folder), removed at the end. */
export function makeFolder(): string {
  const parent = process.env.CATENA_BENCH_DIR ?? tmpdir();
  mkdirSync(parent, { recursive: true });
  return mkdtempSync(join(parent, 'catena-bench-'));
}

export class MeasuredCluster {
  readonly mount: string;
  readonly manager: string;
  readonly pids: readonly number[];
  readonly pidOf: ReadonlyMap<string, number>;
  readonly #directory: string;

  constructor(folder: string, basePort: number) {
    this.#directory = join(folder, 'cluster');
    this.mount = join(folder, 'mnt');
    this.manager = `127.0.0.1:${basePort}`;
    const place = ['--dir', this.#directory, '--mount', this.mount, '--base-port', `${basePort}`];
    catena('up', '-d', ...place);
    const status = JSON.parse(catena('status', '--json', '--dir', this.#directory)) as Status;
    this.pids = [status.supervisor, ...status.processes.map((entry) => entry.pid)];
    this.pidOf = new Map(status.processes.map((entry) => [entry.name, entry.pid]));
  }

  cpuSeconds(): number {
    return cpuSeconds(this.pids);
  }

  pssMiB(): number {
    return pssMiB(this.pids);
  }

  stop(): void {
    catena('down', '--dir', this.#directory);
  }
}

function catena(...parameters: string[]): string {
  return execFileSync(join(root, 'catena'), parameters, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Writes everything that waits to the disks and forgets cached pages, so that the next read is a real one. */
export function dropPages(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** Runs a program that mounts `mountpoint`, until the returned function is called. */
export async function withMemoryFileSystem(mountpoint: string, use: () => Promise<void>): Promise<void> {
  mkdirSync(mountpoint, { recursive: true });
  const child = spawn(join(root, 'target/release/examples/memory'), [mountpoint], { stdio: 'inherit' });
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    // Not built, most likely: then it is not mounted, which is said below.
    child.once('error', resolve);
  });
  try {
    await untilMounted(mountpoint);
    await use();
  } finally {
    spawnSync('umount', [mountpoint]);
    await ended;
    rmSync(mountpoint, { recursive: true, force: true });
  }
}

async function untilMounted(mountpoint: string): Promise<void> {
  const { readFileSync } = await import('node:fs');
  for (let round = 0; round < 100; round++) {
    if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${mountpoint} `)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${mountpoint} was not mounted within 5 s`);
}
