// Which results of an earlier driver a job goes on with.
import type { Task, TaskResult } from '../plan/task.ts';

export interface RecoveredResults {
  readonly recovered: ReadonlyMap<string, TaskResult>;
  /** Tasks whose results are in the log and count no more: the log has to say so before one of them runs again. */
  readonly dropped: readonly string[];
}

/**
 * A result counts if its file is there and everything that it was made from counts: a task that runs again may write
 * its rows in another order, or other rows, so what was made from its earlier attempt does not fit the new one.
 */
export function chooseRecovered(
  tasks: readonly Pick<Task, 'id' | 'dependsOn'>[],
  results: ReadonlyMap<string, TaskResult>,
  isThere: (result: TaskResult) => boolean,
): RecoveredResults {
  const recovered = new Map<string, TaskResult>();
  const dropped: string[] = [];
  // Dependencies come before their dependants.
  for (const { id, dependsOn } of tasks) {
    const result = results.get(id);
    if (result === undefined) continue;
    if (isThere(result) && dependsOn.every((input) => recovered.has(input))) recovered.set(id, result);
    else dropped.push(id);
  }
  return { recovered, dropped };
}
