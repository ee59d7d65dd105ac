// The load that the fault tests judge: verifying readers and writers on several mounts, and what is expected of
// them whatever dies.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { expect } from 'vitest';
import { catena, type RunningCluster, root } from '../cluster/running-cluster.ts';
import type { ExtraMount } from './extra-mount.ts';
import { findings, Program, witness, witnessPath, witnessWords } from './program.ts';

/** Of all operations of a run, so many may take longer than two seconds: the p99 of all is two seconds at most. */
export const overTwoSecondsPartMax = 0.01;
export const longestMsMax = 10_000;
/** When a manager died meanwhile. */
export const longestMsMaxAfterManagerDeath = 16_000;
/** After the last fault, all replicas are equal again. */
export const equalWithinMs = 30_000;

export interface Timed {
  readonly operations: number;
  readonly overTwoSeconds: number;
  /** For want of space. */
  readonly refused: number;
  readonly longestMs: number;
  /** Since 1970; 0 where it is not known. */
  readonly longestEndedAtMs: number;
  readonly failures: readonly string[];
}

export interface LoadOptions {
  readonly cluster: { readonly directory: string; readonly mount: string; logs(): string };
  /** Mounts that cache nothing. */
  readonly mounts: readonly ExtraMount[];
  readonly seed: number;
  readonly seconds: number;
  /** Of the files, when a cluster carries several loads one after another. */
  readonly name: string;
  /** The history goes on until it has so many. */
  readonly historyOperations?: number;
  /** What needs new space may be refused for want of it. */
  readonly mayBeFull?: boolean;
}

export interface LoadFigures {
  readonly operations: number;
  readonly historyOperations: number;
  /** Of all operations, the part that took longer. */
  readonly overTwoSecondsPart: number;
  readonly longestMs: number;
  readonly longestEndedAtMs: number;
  /** Operations that found a disk full. */
  readonly refused: number;
}

export class Load {
  readonly historyPath: string;
  readonly #options: LoadOptions;
  readonly #operations: Program[];
  readonly #history: Program;
  /** None where a disk may be full: it knows no refusals. */
  readonly #bench: Program | undefined;

  /** Starts: random operations on the mounts together and on the ordinary one, a history of shared blocks, a bench. */
  constructor(options: LoadOptions) {
    const { cluster, seed, seconds, name } = options;
    this.#options = options;
    const mount = options.mounts.map((each) => each.path);
    const shared = { seconds, 'may-be-full': String(options.mayBeFull ?? false) };
    this.historyPath = join(dirname(cluster.directory), `${name}.history`);
    // A page in memory that finds no room later tells nobody which of its bytes were written.
    const maps = String(options.mayBeFull !== true);
    this.#operations = [
      witness('operations', { mount, name: `${name}-a`, seed, ...shared }),
      witness('operations', { mount: cluster.mount, maps, name: `${name}-b`, seed: seed + 1, ...shared }),
    ];
    const history = {
      mount: [cluster.mount, ...mount],
      direct: 'true',
      name: `${name}-h`,
      seed,
      ...shared,
      threads: 12,
      'at-least': options.historyOperations,
      out: this.historyPath,
    };
    this.#history = witness('history', history);
    if (options.mayBeFull !== true) this.#bench = verifyingBench(cluster, seconds);
  }

  /** Waits for the end; no error, no wrong byte, and an order that explains the history. */
  async judge(): Promise<LoadFigures> {
    const history = await findings<Timed>(this.#history);
    const timed = [history];
    for (const program of this.#operations) timed.push(await findings(program));
    const failures = timed.flatMap((each) => each.failures);
    expect(failures, `${failures.join('\n')}\n${this.#options.cluster.logs()}`).toEqual([]);
    if (this.#bench !== undefined) timed.push(timedOfBench(await reportOfBench(this.#bench)));
    const checked = explained(this.historyPath, this.#options.seed);
    expect(checked.operations).toBe(history.operations);
    const longest = timed.reduce((most, each) => (each.longestMs > most.longestMs ? each : most));
    const operations = timed.reduce((sum, each) => sum + each.operations, 0);
    const over = timed.reduce((sum, each) => sum + each.overTwoSeconds, 0);
    return {
      operations,
      historyOperations: history.operations,
      overTwoSecondsPart: over / operations,
      longestMs: longest.longestMs,
      longestEndedAtMs: longest.longestEndedAtMs,
      refused: timed.reduce((sum, each) => sum + each.refused, 0),
    };
  }

  /** For a test that failed: nothing goes on. */
  async kill(): Promise<void> {
    for (const program of [...this.#operations, this.#history, this.#bench].filter(
      (each) => each !== undefined,
    )) {
      program.signal('SIGKILL');
      await program.ended;
    }
  }
}

/** Overwrites blocks of a file on the mount, verifies what it reads, and says it in JSON. */
export function verifyingBench(cluster: LoadOptions['cluster'], seconds: number): Program {
  const job = [
    '--rw',
    'randwrite',
    '--bs',
    '64k',
    '--iodepth',
    '4',
    '--size',
    '16m',
    '--runtime',
    `${seconds}s`,
  ];
  const where = ['--dir', cluster.directory, '--engine', 'posix', '--directory', cluster.mount];
  return new Program('bench', [join(root, 'catena'), 'bench', ...where, ...job, '--verify', '--json']);
}

/** What it says, when it has ended without an error. */
export async function reportOfBench(bench: Program): Promise<BenchReport> {
  const { code, stdout, stderr } = await bench.ended;
  expect(code, stdout + stderr).toBe(0);
  const [found] = JSON.parse(stdout) as { report: BenchReport }[];
  if (found === undefined) throw new Error(`the bench reported nothing: ${stdout}`);
  expect(found.report.errors, stdout).toBe(0);
  return found.report;
}

export interface BenchReport {
  readonly errors: number;
  readonly operations: number;
  readonly latencyUs: Readonly<Record<'p50' | 'p95' | 'p99' | 'p999' | 'max', number>>;
}

/** It tells percentiles: of the operations between two of them all count as long ones if one may be. */
export function timedOfBench({ operations, latencyUs }: BenchReport): Timed {
  const parts: [longestUs: number, over: number][] = [
    [latencyUs.max, 0],
    [latencyUs.p999, 0.001],
    [latencyUs.p99, 0.01],
    [latencyUs.p95, 0.05],
    [latencyUs.p50, 0.5],
  ];
  const part = parts.find(([longestUs]) => longestUs <= 2_000_000)?.[1] ?? 1;
  return {
    operations,
    overTwoSeconds: Math.ceil(part * operations),
    refused: 0,
    longestMs: latencyUs.max / 1_000,
    longestEndedAtMs: 0,
    failures: [],
  };
}

export interface CheckedHistory {
  readonly operations: number;
  readonly violations: number;
  readonly failures: readonly string[];
}

export function checkHistory(path: string): CheckedHistory {
  const [checker = '', ...words] = witnessWords('history-check', { in: path });
  const done = spawnSync(checker, words, { encoding: 'utf8' });
  if (done.status !== 0 && done.status !== 1) throw new Error(`history-check: ${done.stderr}`);
  return JSON.parse(done.stdout) as CheckedHistory;
}

/** Where histories that nothing explains are kept: no run makes the same one again. */
export const keptHistories: string = join(dirname(witnessPath), 'histories');

/** An error, with the command that shows it again, if there is no order that explains the history. */
export function explained(path: string, seed: number): CheckedHistory {
  const checked = checkHistory(path);
  if (checked.violations > 0) {
    mkdirSync(keptHistories, { recursive: true });
    const kept = join(keptHistories, `${basename(path, '.history')}-${seed}.history`);
    copyFileSync(path, kept);
    const words = witnessWords('history-check', { in: kept });
    const command = words.map((word) => (word.startsWith(root) ? relative(root, word) : word)).join(' ');
    throw new Error(`${checked.failures.join('\n')}\nto see it again: ${command}`);
  }
  return checked;
}

/** All targets serve and all copies are equal; answers how many milliseconds after `since`, the last fault. */
export async function untilEqual(
  cluster: RunningCluster,
  since: number = performance.now(),
): Promise<number> {
  await cluster.untilReady();
  const verified = catena('verify', '--dir', cluster.directory);
  expect(verified.status, verified.stdout + verified.stderr).toBe(0);
  return performance.now() - since;
}
