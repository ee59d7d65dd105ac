// Runs the tasks of one plan: feeds the scheduler with what happens, and carries out what it decides. A
// result counts only after the job log has it.
import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { type Clock, FsError, type Timer } from '@catena/core';
import { resolveRelation } from '../plan/resolve.ts';
import type { Task, TaskResult } from '../plan/task.ts';
import type { Crew } from '../worker/crew.ts';
import type { WorkerInfo } from '../worker/hub.ts';
import type { JobLog } from './job-log.ts';
import {
  createScheduler,
  type Failure,
  type SchedulerAction,
  type SchedulerEvent,
  step,
} from './scheduler.ts';

/** A stopped query ends at DuckDB's next check, milliseconds later; a worker that does not is killed. */
const stopTimeoutMs = 5_000;

export interface Width {
  readonly threads: number;
  readonly memoryBytes: number;
}

export interface RunOptions {
  readonly tasks: readonly Task[];
  readonly recovered: ReadonlyMap<string, TaskResult>;
  readonly run: number;
  readonly crew: Crew;
  readonly log: JobLog;
  readonly clock: Clock;
  /** Where attempts of this kind of task write. */
  readonly directoryOf: (task: Task) => string;
  readonly slot: Width;
  readonly node: Width;
  readonly signal: AbortSignal | undefined;
}

export interface TaskReport {
  readonly task: Task;
  readonly result: TaskResult;
  readonly worker: string;
  readonly attempts: number;
}

export async function runTasks(options: RunOptions): Promise<ReadonlyMap<string, TaskReport>> {
  return await new Run(options).go();
}

class Run {
  readonly #options: RunOptions;
  readonly #tasks: ReadonlyMap<string, Task>;
  readonly #state;
  readonly #reports = new Map<string, TaskReport>();
  readonly #arrived = new Map<string, TaskResult>();
  /** By the worker that was told to stop. */
  readonly #stopTimers = new Map<string, Timer>();
  readonly #queue: SchedulerEvent[] = [];
  #busy = false;
  #finish!: (error: FsError | undefined) => void;
  /** The log refuses: nothing that comes later may overwrite this reason. */
  #logError: FsError | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#tasks = new Map(options.tasks.map((task) => [task.id, task]));
    this.#state = createScheduler(options.tasks, new Set(options.recovered.keys()));
    for (const [id, result] of options.recovered) {
      const task = this.#tasks.get(id);
      assert(task !== undefined, `a recovered result of unknown task ${id}`);
      this.#reports.set(id, { task, result, worker: 'an earlier driver', attempts: 0 });
    }
  }

  async go(): Promise<ReadonlyMap<string, TaskReport>> {
    const { crew, signal } = this.#options;
    const finished = new Promise<FsError | undefined>((resolve) => {
      this.#finish = resolve;
    });
    const cancel = (): void => this.#abort({ code: 'CANCELLED', detail: 'by the caller' });
    signal?.addEventListener('abort', cancel, { once: true });
    for (const worker of crew.workers) this.#up(worker);
    crew.listen({
      up: (worker) => this.#up(worker),
      lost: (worker, detail) => {
        this.#stopped(worker.id);
        this.#handle({ kind: 'workerLost', worker: worker.id, detail });
      },
      done: (worker, task, attempt, result) => {
        this.#stopped(worker.id);
        this.#arrived.set(`${task} ${attempt}`, result);
        this.#handle({ kind: 'done', worker: worker.id, task, attempt });
      },
      failed: (worker, task, attempt, failure) => {
        this.#stopped(worker.id);
        this.#handle({ kind: 'failed', worker: worker.id, task, attempt, failure });
      },
      deserted: (failure) => this.#handle({ kind: 'abort', failure }),
    });
    if (signal?.aborted === true) cancel();
    const error = await finished;
    crew.listen(undefined);
    signal?.removeEventListener('abort', cancel);
    for (const timer of this.#stopTimers.values()) timer.cancel();
    if (error === undefined) return this.#reports;
    throw error;
  }

  #up(worker: WorkerInfo): void {
    this.#handle({ kind: 'workerUp', worker: worker.id, node: worker.node });
  }

  /** Its attempt has ended, so its worker may live. */
  #stopped(worker: string): void {
    this.#stopTimers.get(worker)?.cancel();
    this.#stopTimers.delete(worker);
  }

  #abort(failure: Pick<Failure, 'code' | 'detail'>): void {
    this.#handle({ kind: 'abort', failure: { ...failure, retryable: false, lostInputs: [] } });
  }

  /** An action may cause an event at once; events are taken one after another. */
  #handle(event: SchedulerEvent): void {
    this.#queue.push(event);
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      for (const action of step(this.#state, next)) this.#act(action);
    }
    this.#busy = false;
  }

  #act(action: SchedulerAction): void {
    switch (action.kind) {
      case 'assign':
        this.#assign(action.worker, action.task, action.attempt);
        break;
      case 'stop':
        this.#options.crew.send(action.worker, { kind: 'stop', task: action.task, attempt: action.attempt });
        this.#stopTimers.set(
          action.worker,
          this.#options.clock.timer(stopTimeoutMs, () => this.#options.crew.kill(action.worker)),
        );
        break;
      case 'commit':
        this.#commit(action.worker, action.task, action.attempt);
        break;
      case 'forget':
        this.#reports.delete(action.task);
        this.#append({ kind: 'lost', run: this.#options.run, task: action.task });
        break;
      case 'end':
        this.#finish(this.#logError ?? errorOf(action.failedTask, this.#tasks, action.failure));
        break;
    }
  }

  #assign(worker: string, id: string, attempt: number): void {
    const task = this.#tasks.get(id);
    assert(task !== undefined, `unknown task ${id}`);
    const { log, crew, slot, node, directoryOf } = this.#options;
    const relation = resolveRelation(task.work.relation, (other) => {
      const report = this.#reports.get(other);
      assert(report !== undefined, `task ${id} was started before ${other} was done`);
      return report.result;
    });
    const width = task.exclusive ? node : slot;
    try {
      crew.send(worker, {
        kind: 'run',
        epoch: log.epoch,
        task: id,
        attempt,
        file: join(directoryOf(task), `${id}.epoch-${log.epoch}.attempt-${attempt}.parquet`),
        threads: width.threads,
        memoryBytes: width.memoryBytes,
        expectedRows: task.expectedRows,
        work: { ...task.work, relation },
      });
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      const failure = { code: error.code, detail: error.detail, retryable: false, lostInputs: [] };
      this.#handle({ kind: 'failed', worker, task: id, attempt, failure });
    }
  }

  #commit(worker: string, id: string, attempt: number): void {
    const result = this.#arrived.get(`${id} ${attempt}`);
    const task = this.#tasks.get(id);
    assert(result !== undefined && task !== undefined, `nothing to commit for ${id}`);
    this.#arrived.clear();
    this.#append({ kind: 'result', run: this.#options.run, task: id, attempt, result });
    this.#reports.set(id, { task, result, worker, attempts: attempt });
  }

  #append(record: Parameters<JobLog['append']>[0]): void {
    if (this.#logError !== undefined) return;
    try {
      this.#options.log.append(record);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#logError = error;
      this.#abort(error);
    }
  }
}

function errorOf(
  id: string,
  tasks: ReadonlyMap<string, Task>,
  failure: Failure | undefined,
): FsError | undefined {
  if (failure === undefined) return undefined;
  const stage = tasks.get(id)?.stage;
  return new FsError(
    failure.code,
    stage === undefined ? failure.detail : `${failure.detail} (stage: ${stage})`,
  );
}
