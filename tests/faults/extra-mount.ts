// A further mount of a running cluster, by default one that caches nothing (P20), so that several mounts may be
// compared with each other.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type RunningCluster, root } from '../cluster/running-cluster.ts';
import { Program } from './program.ts';

export interface ExtraMountOptions {
  /** Where its mount point, configuration and log are. */
  readonly folder: string;
  readonly number: number;
  /** Name of the cluster. */
  readonly cluster: string;
  readonly manager: string;
  readonly http: string;
  /** Words before the command: where it runs. */
  readonly prefix?: readonly string[];
}

export class ExtraMount {
  readonly path: string;
  readonly #program: Program;

  private constructor(path: string, program: Program) {
    this.path = path;
    this.#program = program;
  }

  /** `number` tells the mounts of a cluster apart: 1, 2 ... */
  static start(cluster: RunningCluster, number: number): Promise<ExtraMount> {
    return ExtraMount.startAt({
      folder: dirname(cluster.directory),
      number,
      cluster: cluster.name,
      manager: `127.0.0.1:${cluster.basePort}`,
      http: `127.0.0.1:${cluster.basePort + 120 + number}`,
    });
  }

  static async startAt(options: ExtraMountOptions): Promise<ExtraMount> {
    const { folder, number, cluster, manager, http } = options;
    const path = join(folder, `mnt-${number}`);
    const config = join(folder, `mnt-${number}.toml`);
    mkdirSync(path, { recursive: true });
    const values = { cluster, managers: [manager], http, mountpoint: path, cache: 'none' };
    const lines = Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(config, `${lines.join('\n')}\n`);
    const main = join(root, 'fuse-client/dist/main.js');
    const command = [...(options.prefix ?? []), process.execPath, main, '--config', config];
    const program = new Program(`mount ${number}`, command, join(folder, `mnt-${number}.log`));
    await program.until('session.started');
    return new ExtraMount(path, program);
  }

  async stop(): Promise<void> {
    this.#program.signal('SIGTERM');
    const late = setTimeout(() => this.#program.signal('SIGKILL'), 20_000);
    await this.#program.ended;
    clearTimeout(late);
    // Only if the process did not: nothing stays mounted.
    spawnSync('umount', ['-l', this.path]);
  }
}
