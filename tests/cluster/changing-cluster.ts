// A cluster of five servers whose nodes and disks come and go under verifying load, by the commands that administrators
// have.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { ExtraMount } from '../faults/extra-mount.ts';
import { Load, longestMsMax, overTwoSecondsPartMax, untilEqual } from '../faults/load.ts';
import { fromEnvironment, seedOf } from '../faults/schedule.ts';
import { catena, RunningCluster } from './running-cluster.ts';

export interface Chain {
  id: number;
  members: { node: number; disk: number; state: string; tenure?: string }[];
}
export interface Change {
  waitsFor: string | null;
}
export interface Target {
  target: string;
  chain: number;
  node: number;
  disk: number;
  state: string;
  diskError: boolean | null;
}

/** Of the load under each change: it has to be over before. */
const seconds = fromEnvironment('CATENA_CHANGE_SECONDS', 10);

/** What a test does to the disks of a cluster that has its folders and no process yet; answers what undoes it. */
type PrepareDisks = (running: RunningCluster) => Promise<() => Promise<void>>;

export class ChangingCluster {
  readonly running: RunningCluster = RunningCluster.prepare();
  #mount!: ExtraMount;
  readonly #undo: (() => Promise<void> | void)[] = [() => this.running.remove()];

  static async start(prepareDisks?: PrepareDisks): Promise<ChangingCluster> {
    const cluster = new ChangingCluster();
    try {
      await cluster.#start(prepareDisks);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #start(prepareDisks?: PrepareDisks): Promise<void> {
    const { running } = this;
    running.init('--nodes', '5', '--targets-per-disk', '3');
    if (prepareDisks !== undefined) this.#undo.push(await prepareDisks(running));
    this.#undo.push(() => running.down());
    running.up();
    this.#mount = await ExtraMount.start(running, 1);
    this.#undo.push(() => this.#mount.stop());
  }

  async stop(): Promise<void> {
    for (const step of this.#undo.splice(0).reverse()) await step();
  }

  #json<T>(...parameters: string[]): T {
    const done = catena(...parameters, '--json', '--dir', this.running.directory);
    if (done.status !== 0) throw new Error(`catena ${parameters.join(' ')}: ${done.stderr}`);
    return JSON.parse(done.stdout) as T;
  }

  chains(): Chain[] {
    return this.#json<Chain[]>('chains');
  }

  changes(): Change[] {
    return this.#json<{ changes: Change[] }>('nodes').changes;
  }

  targets(): Target[] {
    return this.#json<Target[]>('targets');
  }

  replicasOn(node: number): number {
    return this.chains().filter((chain) => chain.members.some((member) => member.node === node)).length;
  }

  /** What a command prints that does what it is told. */
  run(...parameters: string[]): string {
    const done = catena(...parameters, '--dir', this.running.directory);
    expect(done.status, done.stdout + done.stderr).toBe(0);
    return done.stdout;
  }

  /** The one line of a command that is refused. */
  refused(...parameters: string[]): string {
    const done = catena(...parameters, '--dir', this.running.directory);
    expect(done.status).toBe(1);
    expect(done.stderr.trim().split('\n'), done.stderr).toHaveLength(1);
    return done.stderr;
  }

  /** Folders of targets that lie on a disk, and what is left of removed ones. */
  targetFolders(node: number, disk = 0): string[] {
    const path = join(this.running.directory, `storage-${node}`, `disk-${disk}`);
    return existsSync(path) ? readdirSync(path).filter((name) => /^(target|removed)-/.test(name)) : [];
  }

  /** Does a change while the load runs; then no client has seen an error, and every chain has three equal copies. */
  async underLoad(
    name: string,
    change: () => Promise<void>,
    longestMs: number = longestMsMax,
  ): Promise<void> {
    const file = expect.getState().testPath?.replace(/^.*\/tests\//, 'tests/') ?? '';
    const seed = seedOf(file, `CATENA_CHANGE_SECONDS=${seconds}`);
    const load = new Load({ cluster: this.running, mounts: [this.#mount], seed, seconds, name });
    try {
      await sleep(1_000);
      await change();
      const figures = await load.judge();
      console.info(`${name}: ${JSON.stringify(figures)}`);
      expect(figures.overTwoSecondsPart).toBeLessThanOrEqual(overTwoSecondsPartMax);
      expect(figures.longestMs).toBeLessThanOrEqual(longestMs);
    } catch (error) {
      await load.kill();
      throw error;
    }
    await untilEqual(this.running);
    for (const chain of this.chains()) {
      expect(
        chain.members.map((member) => member.state),
        `chain ${chain.id}`,
      ).toEqual(['serving', 'serving', 'serving']);
      expect(new Set(chain.members.map((member) => member.node)).size, `chain ${chain.id}`).toBe(3);
    }
  }
}
