// A further mount of a running cluster, by default one that caches nothing (P20), so that several mounts may be
// compared with each other.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type RunningCluster, root } from '../cluster/running-cluster.ts';
import { Program } from './program.ts';

export class ExtraMount {
  readonly path: string;
  readonly #program: Program;

  private constructor(path: string, program: Program) {
    this.path = path;
    this.#program = program;
  }

  /** `number` tells the mounts of a cluster apart: 1, 2 ... */
  static async start(cluster: RunningCluster, number: number): Promise<ExtraMount> {
    const folder = dirname(cluster.directory);
    const path = join(folder, `mnt-${number}`);
    const config = join(folder, `mnt-${number}.toml`);
    mkdirSync(path, { recursive: true });
    const { name } = JSON.parse(readFileSync(join(cluster.directory, 'cluster.json'), 'utf8')) as {
      name: string;
    };
    const values = {
      cluster: name,
      managers: [`127.0.0.1:${cluster.basePort}`],
      http: `127.0.0.1:${cluster.basePort + 120 + number}`,
      mountpoint: path,
      cache: 'none',
    };
    const lines = Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(config, `${lines.join('\n')}\n`);
    const log = join(cluster.directory, 'logs', `mnt-${number}.log`);
    const main = join(root, 'fuse-client/dist/main.js');
    const program = new Program(`mount ${number}`, [process.execPath, main, '--config', config], log);
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
