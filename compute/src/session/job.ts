// One session's job: its directory on scratch, its log, its workers, the driver's own small database, and its
// runs one after another. What the API promises is in session.ts and data-frame.ts; this is how it happens.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { basename, join, resolve } from 'node:path';
import {
  bootMsFromProc,
  type Clock,
  FsError,
  fromSystemError,
  type Logger,
  realClock,
  realRandom,
  silentLogger,
} from '@catena/core';
import { Database, type EngineConnection } from '../engine/database.ts';
import { type OptimizedPlan, optimize } from '../optimize/optimize.ts';
import { inOrder, type Node } from '../plan/nodes.ts';
import { type ExecutionPlan, type Goal, makePlan } from '../plan/planner.ts';
import type { Task, TaskResult } from '../plan/task.ts';
import { LocalPlatform } from '../platforms/local.ts';
import type { Platform } from '../platforms/platform.ts';
import { JobLog } from '../schedule/job-log.ts';
import { chooseRecovered, type RecoveredResults } from '../schedule/recovered.ts';
import { runTasks, type TaskReport } from '../schedule/run.ts';
import type { Writer } from '../sinks/parquet.ts';
import { InputCopies } from '../sources/fetch-inputs.ts';
import type { FileTransfer } from '../sources/file-transfer.ts';
import { openParquet, type ParquetSource } from '../sources/parquet.ts';
import { Crew } from '../worker/crew.ts';
import type { RunReport } from './explain.ts';
import { makeDirectory } from './make-directory.ts';
import { type Resources, shareResources } from './resources.ts';

export interface SessionOptions {
  /** Worker processes; each works on one task. Default: the cores of this machine. */
  readonly slots?: number;
  /** For all workers together. Default: half of the machine's or control group's. */
  readonly memoryBytes?: number;
  /** Fast local disk for intermediate files and spilling. */
  readonly scratchDirectory?: string;
  /**
   * A name that is the same after a restart lets the job go on from its finished tasks. Default: a new one.
   */
  readonly jobId?: string;
  readonly platform?: Platform;
  /** Without a mount: inputs are copied to scratch and results back through this. */
  readonly files?: FileTransfer;
  /** Nodes that hold files, to run tasks near them. */
  readonly locate?: (paths: readonly string[]) => readonly string[];
  readonly log?: Logger;
}

/** The driver reads footers and streams results; both need little. */
const driverMemoryBytes = 512 << 20;
const ownJobId = /^job-(\d+)-[0-9a-f]+$/;

export interface Prepared {
  readonly optimized: OptimizedPlan;
  readonly plan: ExecutionPlan;
}

export interface RunRequest {
  readonly goal: Goal;
  /** For people. */
  readonly name: string;
  /** Where tasks with the target `result` write. */
  readonly resultDirectory?: string;
  readonly signal?: AbortSignal | undefined;
}

export class Job {
  readonly id: string;
  readonly resources: Resources;
  readonly platform: Platform;
  readonly transfer: FileTransfer | undefined;
  readonly clock: Clock = realClock(bootMsFromProc);
  readonly directory: string;
  readonly #options: SessionOptions;
  readonly #copies: InputCopies | undefined;
  #database: Promise<Database> | undefined;
  #crew: Promise<Crew> | undefined;
  #log: JobLog | undefined;
  #runs = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.resources = shareResources(options.slots, options.memoryBytes);
    this.platform = options.platform ?? new LocalPlatform();
    this.transfer = options.files;
    this.id = options.jobId ?? `job-${process.pid}-${realRandom.bytes(6).toString('hex')}`;
    if (!/^[\w.-]{1,100}$/.test(this.id) || this.id.startsWith('.')) {
      throw new FsError('INVALID_ARGUMENT', `jobId "${this.id}": use letters, digits, "_", "-" and "."`);
    }
    const scratch = resolve(options.scratchDirectory ?? join(tmpdir(), `catena-compute-${userInfo().uid}`));
    this.directory = join(scratch, this.id);
    try {
      makeDirectory(this.directory);
    } catch (error) {
      throw fromSystemError(error, `scratchDirectory ${scratch}`);
    }
    removeOrphans(scratch);
    if (this.transfer !== undefined)
      this.#copies = new InputCopies(this.transfer, join(this.directory, 'inputs'));
  }

  get #logPath(): string {
    return join(this.directory, 'job.log');
  }

  get bytesCopiedIn(): number {
    return this.#copies?.bytes ?? 0;
  }

  /** Starts the workers, if they do not run yet. */
  async start(): Promise<Crew> {
    if (this.#closed) throw new FsError('INVALID_ARGUMENT', 'this session is closed');
    this.#crew ??= this.#startCrew();
    return await this.#crew;
  }

  async connectDriver(): Promise<EngineConnection> {
    if (this.#closed) throw new FsError('INVALID_ARGUMENT', 'this session is closed');
    this.#database ??= Database.open({
      threads: 1,
      memoryBytes: driverMemoryBytes,
      spillDirectory: join(this.directory, 'spill'),
    });
    return await (await this.#database).connect();
  }

  /** Reads footers, checks every query, and plans. Runs nothing. */
  async prepare(root: Node, goal: Goal): Promise<Prepared> {
    const connection = await this.connectDriver();
    try {
      const sources = new Map<number, ParquetSource>();
      for (const node of inOrder(root)) {
        if (node.kind !== 'source') continue;
        const paths = await this.#copies?.fetch(node.patterns, node.recursive);
        sources.set(node.id, await openParquet(connection, paths ?? node.patterns, node.recursive));
      }
      const optimized = await optimize(connection, root, sources);
      const locate = this.#options.locate ?? (() => []);
      const plan = await makePlan(connection, optimized, goal, { slots: this.resources.slots, locate });
      return { optimized, plan };
    } finally {
      connection.close();
    }
  }

  /** Runs wait for each other. `use` gets the results before the run's scratch is removed. */
  async run<T>(
    prepared: Prepared,
    request: RunRequest,
    use: (results: readonly TaskResult[], connection: EngineConnection) => Promise<T>,
  ): Promise<{ value: T; report: RunReport }> {
    const before = this.#turn;
    const mine = before.then(() => this.#runNow(prepared, request, use));
    this.#turn = mine.catch(() => undefined);
    return await mine;
  }

  /** Who writes the next run's result. From here on this driver has the job, and an earlier one is refused. */
  nextWriter(): Writer {
    const log = this.#openLog();
    return { name: `${this.id}-${this.#runs + 1}`, epoch: log.epoch, check: () => log.check() };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#turn;
    const crew = await this.#crew?.catch(() => undefined);
    await crew?.close();
    (await this.#database)?.close();
    const isOurs = this.#isOurs();
    this.#log?.close();
    if (isOurs) rmSync(this.directory, { recursive: true, force: true });
  }

  #openLog(): JobLog {
    if (this.#log === undefined) {
      // Another session of this job may have ended, and removed it, since this one began.
      makeDirectory(this.directory);
      this.#log = JobLog.open(this.#logPath, realRandom);
    }
    return this.#log;
  }

  /** Not if another driver has taken the job over, or has it and this session never ran anything. */
  #isOurs(): boolean {
    return this.#log === undefined ? !existsSync(this.#logPath) : !this.#log.isFenced();
  }

  async #runNow<T>(
    { optimized, plan }: Prepared,
    request: RunRequest,
    use: (results: readonly TaskResult[], connection: EngineConnection) => Promise<T>,
  ): Promise<{ value: T; report: RunReport }> {
    const startNs = this.clock.wallNs();
    const crew = await this.start();
    this.#runs++;
    const run = this.#runs;
    const directory = join(this.directory, `run-${run}`);
    const log = this.#openLog();
    const fingerprint = fingerprintOf(optimized, plan);
    const { recovered, dropped } = this.#recoverResults(run, fingerprint, plan.tasks, request);
    if (recovered.size === 0) rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    log.append({ kind: 'run', run, fingerprint, tasks: plan.tasks.length });
    for (const task of dropped) log.append({ kind: 'lost', run, task });
    const connection = await this.connectDriver();
    let error = '';
    try {
      const reports = await this.#runPlan(plan, request, crew, run, directory, recovered);
      const results = plan.outputs.map((id) => reports.get(id)!.result);
      const value = await use(results, connection);
      const seconds = Number(this.clock.wallNs() - startNs) / 1e9;
      const tasks = plan.tasks.map((task) => reports.get(task.id)!);
      const report = { goal: request.name, seconds, tasks, bytesOut: 0, recovered: recovered.size };
      return { value, report };
    } catch (caught) {
      // A driver that took the job over may have taken files from under us: then that is the reason.
      log.check();
      error = caught instanceof Error ? caught.message : String(caught);
      throw caught;
    } finally {
      connection.close();
      if (this.#logEnd(log, run, error)) rmSync(directory, { recursive: true, force: true });
    }
  }

  /** False for a driver that was fenced off: it has nothing to say about the end, and its successor has the files. */
  #logEnd(log: JobLog, run: number, error: string): boolean {
    try {
      log.append({ kind: 'end', run, error });
    } catch (caught) {
      if (!(caught instanceof FsError)) throw caught;
      this.#options.log?.warning('job.end', { job: this.id, error: caught });
      return caught.code !== 'FENCED';
    }
    return true;
  }

  async #runPlan(
    plan: ExecutionPlan,
    request: RunRequest,
    crew: Crew,
    run: number,
    directory: string,
    recovered: ReadonlyMap<string, TaskResult>,
  ): Promise<ReadonlyMap<string, TaskReport>> {
    const { slots, threads, memoryBytes, threadsPerSlot, memoryBytesPerSlot } = this.resources;
    if (plan.tasks.length === 0) return new Map();
    return await runTasks({
      tasks: plan.tasks,
      recovered,
      run,
      crew,
      log: this.#log!,
      clock: this.clock,
      directoryOf: (task) => (isResult(task) ? (request.resultDirectory ?? directory) : directory),
      slot: { threads: threadsPerSlot, memoryBytes: memoryBytesPerSlot },
      node: { threads: Math.max(threads, slots), memoryBytes },
      signal: request.signal,
    });
  }

  #recoverResults(
    run: number,
    fingerprint: string,
    tasks: readonly Task[],
    { resultDirectory }: RunRequest,
  ): RecoveredResults {
    const known = this.#log?.recovered.get(run);
    const results = new Map<string, TaskResult>();
    const isOfThisPlan = known !== undefined && !known.ended && known.fingerprint === fingerprint;
    for (const task of isOfThisPlan ? tasks : []) {
      const result = known?.results.get(task.id);
      if (result === undefined) continue;
      // The sink has moved what an earlier driver staged into the directory of this one.
      const isMoved = resultDirectory !== undefined && isResult(task);
      const file = isMoved ? join(resultDirectory, basename(result.file)) : result.file;
      results.set(task.id, { ...result, file });
    }
    return chooseRecovered(
      tasks,
      results,
      ({ file, bytes }) => file === '' || statSync(file, { throwIfNoEntry: false })?.size === bytes,
    );
  }

  async #startCrew(): Promise<Crew> {
    const { slots, threadsPerSlot, memoryBytesPerSlot } = this.resources;
    const crew = new Crew({
      platform: this.platform,
      slots,
      threadsPerSlot,
      memoryBytesPerSlot,
      spillDirectory: join(this.directory, 'spill'),
      clock: this.clock,
      random: realRandom,
      log: this.#options.log ?? silentLogger,
    });
    await crew.start();
    return crew;
  }
}

function isResult({ work }: Task): boolean {
  return work.kind === 'store' && work.target === 'result';
}

/** The same plan over the same files: results of an earlier driver are still right. */
function fingerprintOf(optimized: OptimizedPlan, plan: ExecutionPlan): string {
  const files = [...optimized.sources.values()].flatMap((source) =>
    source.files.map(({ path, bytes, modifiedMs }) => [path, bytes, modifiedMs]),
  );
  // Node ids count up over the process and stand in stages' sentences only.
  const works = plan.tasks.map(({ id, work }) => [id, work]);
  return createHash('sha256')
    .update(JSON.stringify([files, works]))
    .digest('hex');
}

/** Directories of sessions with a name of their own whose process is gone: nobody can go on with them. */
function removeOrphans(scratch: string): void {
  for (const name of readdirSync(scratch)) {
    const pid = ownJobId.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      rmSync(join(scratch, name), { recursive: true, force: true });
    }
  }
}
