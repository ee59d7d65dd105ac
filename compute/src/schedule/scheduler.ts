// Which task runs where, as a pure function of events: no clock, no socket, no randomness. It keeps its state
// in the object it is handed and answers with actions. A job fails with its task's first real error, not with
// the last symptom.
import { strict as assert } from 'node:assert';
import type { ErrorCode } from '@catena/core';

/** A worker that dies under a task may have been killed by it: after this many failures the task is to blame. */
export const failuresMax = 4;

export interface Failure {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryable: boolean;
  /** Tasks whose outputs the failed one could not find: they run again first. */
  readonly lostInputs: readonly string[];
}

export interface SchedulerTask {
  readonly id: string;
  readonly dependsOn: readonly string[];
  readonly exclusive: boolean;
  readonly hints: readonly string[];
}

export type SchedulerEvent =
  | { readonly kind: 'workerUp'; readonly worker: string; readonly node: string }
  | { readonly kind: 'workerLost'; readonly worker: string; readonly detail: string }
  | { readonly kind: 'done'; readonly worker: string; readonly task: string; readonly attempt: number }
  | {
      readonly kind: 'failed';
      readonly worker: string;
      readonly task: string;
      readonly attempt: number;
      readonly failure: Failure;
    }
  /** The driver can go on no more: no worker will come, or the caller cancelled. */
  | { readonly kind: 'abort'; readonly failure: Failure };

export type SchedulerAction =
  | { readonly kind: 'assign'; readonly worker: string; readonly task: string; readonly attempt: number }
  | { readonly kind: 'stop'; readonly worker: string; readonly task: string; readonly attempt: number }
  | { readonly kind: 'commit'; readonly worker: string; readonly task: string; readonly attempt: number }
  | { readonly kind: 'forget'; readonly task: string }
  /** Nothing runs any more. Without a failure all tasks are done. */
  | { readonly kind: 'end'; readonly failedTask: string; readonly failure: Failure | undefined };

interface TaskState {
  readonly task: SchedulerTask;
  readonly order: number;
  status: 'waiting' | 'ready' | 'running' | 'done';
  /** Numbers the attempts; those that somebody else's loss made necessary are no failures of this task. */
  attempts: number;
  failures: number;
  /** The running attempt reads an output that is gone and will be made again: it must not be committed. */
  stale: boolean;
  worker: string;
  /** Dependencies that are not done. */
  missing: number;
  firstFailure: Failure | undefined;
}

interface WorkerState {
  readonly id: string;
  readonly node: string;
  /** Empty if idle. */
  task: string;
}

export interface SchedulerState {
  readonly tasks: Map<string, TaskState>;
  readonly dependants: Map<string, string[]>;
  readonly workers: Map<string, WorkerState>;
  remaining: number;
  outcome: { task: string; failure: Failure } | undefined;
  ended: boolean;
}

/** `done` are tasks whose results an earlier life of the job has committed. */
export function createScheduler(
  tasks: readonly SchedulerTask[],
  done: ReadonlySet<string> = new Set(),
): SchedulerState {
  const state: SchedulerState = {
    tasks: new Map(),
    dependants: new Map(),
    workers: new Map(),
    remaining: 0,
    outcome: undefined,
    ended: false,
  };
  tasks.forEach((task, order) => {
    assert(!state.tasks.has(task.id), `two tasks ${task.id}`);
    const missing = task.dependsOn.filter((id) => !done.has(id)).length;
    const status = done.has(task.id) ? 'done' : missing === 0 ? 'ready' : 'waiting';
    state.tasks.set(task.id, {
      task,
      order,
      status,
      attempts: 0,
      failures: 0,
      stale: false,
      worker: '',
      missing,
      firstFailure: undefined,
    });
    if (status !== 'done') state.remaining++;
    for (const id of task.dependsOn) {
      assert(state.tasks.has(id), `task ${task.id} depends on ${id}, which does not come before it`);
      state.dependants.set(id, [...(state.dependants.get(id) ?? []), task.id]);
    }
  });
  return state;
}

export function step(state: SchedulerState, event: SchedulerEvent): SchedulerAction[] {
  if (state.ended) return [];
  const actions: SchedulerAction[] = [];
  switch (event.kind) {
    case 'workerUp':
      assert(!state.workers.has(event.worker), `worker ${event.worker} came twice`);
      state.workers.set(event.worker, { id: event.worker, node: event.node, task: '' });
      break;
    case 'workerLost':
      workerLost(state, event.worker, event.detail, actions);
      break;
    case 'done':
      if (release(state, event) && !setAside(state, event.task)) taskDone(state, event, actions);
      break;
    case 'failed':
      if (release(state, event) && !setAside(state, event.task))
        taskFailed(state, event.task, event.failure, actions);
      break;
    case 'abort':
      fail(state, '', event.failure, actions);
      break;
  }
  if (state.outcome === undefined && state.remaining > 0) assign(state, actions);
  else endIfIdle(state, actions);
  return actions;
}

/** Frees the worker. False if the report is about an attempt that counts no more. */
function release(state: SchedulerState, event: { worker: string; task: string; attempt: number }): boolean {
  const worker = state.workers.get(event.worker);
  if (worker === undefined || worker.task !== event.task) return false;
  const task = state.tasks.get(event.task);
  assert(task !== undefined, `unknown task ${event.task}`);
  if (task.status !== 'running' || task.worker !== event.worker || task.attempts !== event.attempt)
    return false;
  worker.task = '';
  task.worker = '';
  return true;
}

/**
 * True if the attempt that ended here was stale. Whatever it reports counts for nothing, a failure too: its task
 * runs again with the new output, and a real error comes again.
 */
function setAside(state: SchedulerState, id: string): boolean {
  const task = state.tasks.get(id)!;
  if (!task.stale) return false;
  task.stale = false;
  task.status = task.missing === 0 ? 'ready' : 'waiting';
  return true;
}

function taskDone(
  state: SchedulerState,
  event: { worker: string; task: string; attempt: number },
  actions: SchedulerAction[],
): void {
  const task = state.tasks.get(event.task)!;
  if (state.outcome !== undefined) {
    task.status = 'ready';
    return;
  }
  task.status = 'done';
  state.remaining--;
  actions.push({ kind: 'commit', worker: event.worker, task: event.task, attempt: event.attempt });
  for (const id of state.dependants.get(event.task) ?? []) {
    const dependant = state.tasks.get(id)!;
    dependant.missing--;
    if (dependant.missing === 0 && dependant.status === 'waiting') dependant.status = 'ready';
  }
}

function taskFailed(state: SchedulerState, id: string, failure: Failure, actions: SchedulerAction[]): void {
  const task = state.tasks.get(id)!;
  task.status = task.missing === 0 ? 'ready' : 'waiting';
  if (state.outcome !== undefined) return;
  task.failures++;
  for (const lost of failure.lostInputs) outputLost(state, lost, actions);
  if (task.firstFailure === undefined || task.firstFailure.code === 'WORKER_LOST')
    task.firstFailure = failure;
  if (!failure.retryable || task.failures >= failuresMax) fail(state, id, task.firstFailure, actions);
}

/**
 * A finished task whose output is gone runs again, and with it everything that was made from that output. Its next
 * attempt may write its rows in another order, or other rows (a LIMIT, a partition number by random()): then
 * consumers of which some read the one attempt and some the other would lose rows and have others twice.
 */
function outputLost(state: SchedulerState, id: string, actions: SchedulerAction[]): void {
  const task = state.tasks.get(id);
  assert(task !== undefined, `unknown task ${id}`);
  if (task.status !== 'done') return;
  task.status = task.missing === 0 ? 'ready' : 'waiting';
  state.remaining++;
  actions.push({ kind: 'forget', task: id });
  for (const dependantId of state.dependants.get(id) ?? []) {
    const dependant = state.tasks.get(dependantId)!;
    dependant.missing++;
    if (dependant.status === 'ready') dependant.status = 'waiting';
    else if (dependant.status === 'done') outputLost(state, dependantId, actions);
    else if (dependant.status === 'running' && !dependant.stale) {
      dependant.stale = true;
      actions.push({
        kind: 'stop',
        worker: dependant.worker,
        task: dependantId,
        attempt: dependant.attempts,
      });
    }
  }
}

function workerLost(state: SchedulerState, id: string, detail: string, actions: SchedulerAction[]): void {
  const worker = state.workers.get(id);
  if (worker === undefined) return;
  state.workers.delete(id);
  if (worker.task === '') return;
  state.tasks.get(worker.task)!.worker = '';
  if (setAside(state, worker.task)) return;
  const failure: Failure = { code: 'WORKER_LOST', detail, retryable: true, lostInputs: [] };
  taskFailed(state, worker.task, failure, actions);
}

function fail(state: SchedulerState, task: string, failure: Failure, actions: SchedulerAction[]): void {
  if (state.outcome !== undefined) return;
  state.outcome = { task, failure };
  for (const worker of state.workers.values()) {
    if (worker.task === '') continue;
    const { attempts, stale } = state.tasks.get(worker.task)!;
    if (!stale) actions.push({ kind: 'stop', worker: worker.id, task: worker.task, attempt: attempts });
  }
}

function endIfIdle(state: SchedulerState, actions: SchedulerAction[]): void {
  if ([...state.workers.values()].some((worker) => worker.task !== '')) return;
  state.ended = true;
  const { outcome } = state;
  actions.push({ kind: 'end', failedTask: outcome?.task ?? '', failure: outcome?.failure });
}

/** Gives ready tasks to idle workers: first where their input is, then where least runs. */
function assign(state: SchedulerState, actions: SchedulerAction[]): void {
  const idle = [...state.workers.values()].filter((worker) => worker.task === '');
  if (idle.length === 0) return;
  const ready = [...state.tasks.values()].filter((task) => task.status === 'ready');
  const give = (task: TaskState, worker: WorkerState): void => {
    idle.splice(idle.indexOf(worker), 1);
    task.status = 'running';
    task.attempts++;
    task.worker = worker.id;
    worker.task = task.task.id;
    actions.push({ kind: 'assign', worker: worker.id, task: task.task.id, attempt: task.attempts });
  };
  const closed = new Set<string>();
  for (const worker of state.workers.values()) {
    if (worker.task !== '' && state.tasks.get(worker.task)!.task.exclusive) closed.add(worker.node);
  }
  for (const local of [true, false]) {
    for (const task of ready) {
      if (idle.length === 0) return;
      if (task.status !== 'ready') continue;
      const open = idle.filter(
        (worker) => !closed.has(worker.node) && (!local || task.task.hints.includes(worker.node)),
      );
      const worker = leastLoaded(state, open);
      if (worker === undefined) continue;
      if (!task.task.exclusive) give(task, worker);
      else if (!local) {
        // The node is closed for others until it is empty, else an exclusive task would wait for ever.
        closed.add(worker.node);
        if (loadOf(state, worker.node) === 0) give(task, worker);
      }
    }
  }
}

function loadOf(state: SchedulerState, node: string): number {
  let load = 0;
  for (const worker of state.workers.values()) if (worker.node === node && worker.task !== '') load++;
  return load;
}

function leastLoaded(state: SchedulerState, workers: readonly WorkerState[]): WorkerState | undefined {
  let best: WorkerState | undefined;
  let bestLoad = Number.POSITIVE_INFINITY;
  for (const worker of workers) {
    const load = loadOf(state, worker.node);
    if (load < bestLoad) {
      best = worker;
      bestLoad = load;
    }
  }
  return best;
}
