import { describe, expect, test } from 'vitest';
import {
  createScheduler,
  type Failure,
  failuresMax,
  type SchedulerAction,
  type SchedulerEvent,
  type SchedulerTask,
  step,
} from './scheduler.ts';

const task = (id: string, more: Partial<SchedulerTask> = {}): SchedulerTask => ({
  id,
  dependsOn: [],
  exclusive: false,
  hints: [],
  ...more,
});
const failure = (code: Failure['code'], more: Partial<Failure> = {}): Failure => ({
  code,
  detail: `why ${code}`,
  retryable: true,
  lostInputs: [],
  ...more,
});
const up = (worker: string, node = 'n1'): SchedulerEvent => ({ kind: 'workerUp', worker, node });
const lost = (worker: string): SchedulerEvent => ({ kind: 'workerLost', worker, detail: `${worker} died` });
const done = (worker: string, id: string, attempt = 1): SchedulerEvent => ({
  kind: 'done',
  worker,
  task: id,
  attempt,
});
const failed = (worker: string, id: string, attempt: number, why: Failure): SchedulerEvent => ({
  kind: 'failed',
  worker,
  task: id,
  attempt,
  failure: why,
});
const brief = (action: SchedulerAction): string => {
  if (action.kind === 'end')
    return action.failure === undefined ? 'end' : `end ${action.failedTask} ${action.failure.code}`;
  if (action.kind === 'forget') return `forget ${action.task}`;
  return `${action.kind} ${action.task}.${action.attempt} ${action.worker}`;
};

/** Feeds events, and returns the actions of each. */
function play(tasks: SchedulerTask[], events: SchedulerEvent[], finished: string[] = []): string[][] {
  const state = createScheduler(tasks, new Set(finished));
  return events.map((event) => step(state, event).map(brief));
}

describe('the scheduler', () => {
  test('runs tasks in order, dependants after their inputs, and ends', () => {
    const tasks = [task('a'), task('b'), task('c', { dependsOn: ['a', 'b'] })];
    expect(
      play(tasks, [up('w1'), up('w2'), done('w2', 'b'), done('w1', 'a'), done('w2', 'c'), done('w1', 'c')]),
    ).toEqual([
      ['assign a.1 w1'],
      ['assign b.1 w2'],
      ['commit b.1 w2'],
      ['commit a.1 w1', 'assign c.1 w1'],
      [],
      ['commit c.1 w1', 'end'],
    ]);
  });

  test('gives the task of a lost worker to another one, and ignores what the lost one says later', () => {
    const events = [up('w1'), up('w2'), lost('w1'), done('w1', 'a'), done('w2', 'a', 1), done('w2', 'a', 2)];
    expect(play([task('a')], events)).toEqual([
      ['assign a.1 w1'],
      [],
      ['assign a.2 w2'],
      [],
      [],
      ['commit a.2 w2', 'end'],
    ]);
  });

  test('a task that fails for good ends the job at once and stops the others', () => {
    const events = [
      up('w1'),
      up('w2'),
      failed('w1', 'a', 1, failure('BAD_QUERY', { retryable: false })),
      failed('w2', 'b', 1, failure('CANCELLED', { retryable: false })),
    ];
    expect(play([task('a'), task('b'), task('c')], events)).toEqual([
      ['assign a.1 w1'],
      ['assign b.1 w2'],
      ['stop b.1 w2'],
      ['end a BAD_QUERY'],
    ]);
  });

  test('tries a task so often and no more, and reports its first real error', () => {
    const events: SchedulerEvent[] = [up('w1'), lost('w1'), up('w2'), failed('w2', 'a', 2, failure('IO'))];
    for (let attempt = 3; attempt <= failuresMax; attempt++) {
      events.push(failed('w2', 'a', attempt, failure('OUT_OF_MEMORY')));
    }
    const actions = play([task('a')], events);
    expect(actions.flat().filter((action) => action.startsWith('assign'))).toHaveLength(failuresMax);
    expect(actions.at(-1)).toEqual(['end a IO']);
  });

  test('a task that kills every worker ends the job with the loss', () => {
    const events = Array.from({ length: failuresMax }, (_, index) => [
      up(`w${index}`),
      lost(`w${index}`),
    ]).flat();
    expect(play([task('a')], events).at(-1)).toEqual(['end a WORKER_LOST']);
  });

  test('prefers the node that holds the input, then the node with least work', () => {
    const tasks = [task('a', { hints: ['n2'] }), task('b'), task('c', { hints: ['n9'] })];
    const state = createScheduler(tasks);
    // No worker may come between: all are there before the first task is ready.
    const blocked = createScheduler([task('gate'), ...tasks.map((t) => ({ ...t, dependsOn: ['gate'] }))]);
    expect(step(state, up('w1', 'n1')).map(brief)).toEqual(['assign a.1 w1']);
    step(blocked, up('w0', 'n0'));
    for (const [worker, node] of [
      ['w1', 'n1'],
      ['w2', 'n2'],
      ['w3', 'n3'],
    ] as const)
      step(blocked, up(worker, node));
    expect(step(blocked, done('w0', 'gate')).map(brief)).toEqual([
      'commit gate.1 w0',
      'assign a.1 w2',
      'assign b.1 w0',
      'assign c.1 w1',
    ]);
  });

  test('an exclusive task waits for its node, gets it, and keeps it', () => {
    const tasks = [task('a'), task('big', { exclusive: true }), task('c')];
    const events = [up('w1'), up('w2'), done('w1', 'a'), done('w1', 'big')];
    expect(play(tasks, events)).toEqual([
      ['assign a.1 w1'],
      [],
      ['commit a.1 w1', 'assign big.1 w1'],
      ['commit big.1 w1', 'assign c.1 w1'],
    ]);
  });

  test('a lost output makes its task run again before its consumers', () => {
    const tasks = [task('a'), task('b', { dependsOn: ['a'] }), task('c', { dependsOn: ['a'] })];
    const events = [
      up('w1'),
      done('w1', 'a'),
      failed('w1', 'b', 1, failure('IO', { lostInputs: ['a'] })),
      done('w1', 'a', 2),
      done('w1', 'b', 2),
      done('w1', 'c'),
    ];
    expect(play(tasks, events)).toEqual([
      ['assign a.1 w1'],
      ['commit a.1 w1', 'assign b.1 w1'],
      ['forget a', 'assign a.2 w1'],
      ['commit a.2 w1', 'assign b.2 w1'],
      ['commit b.2 w1', 'assign c.1 w1'],
      ['commit c.1 w1', 'end'],
    ]);
  });

  test('a lost output takes with it all that was made from it, finished and running, and nothing else', () => {
    const tasks = [
      task('u'),
      task('other'),
      task('c1', { dependsOn: ['u'] }),
      task('d1', { dependsOn: ['c1'] }),
      task('o1', { dependsOn: ['other'] }),
      task('c2', { dependsOn: ['u'] }),
      task('c3', { dependsOn: ['u'] }),
    ];
    const events = [
      up('w1'),
      done('w1', 'u'),
      done('w1', 'other'),
      done('w1', 'c1'),
      done('w1', 'd1'),
      done('w1', 'o1'),
      up('w2'),
      failed('w1', 'c2', 1, failure('IO', { lostInputs: ['u'] })),
      // It read the first attempt of u to the end before the order to stop came.
      done('w2', 'c3', 1),
      done('w1', 'u', 2),
      done('w1', 'c1', 2),
      done('w2', 'c2', 2),
      done('w1', 'd1', 2),
      done('w2', 'c3', 2),
    ];
    expect(play(tasks, events).slice(6)).toEqual([
      ['assign c3.1 w2'],
      ['forget u', 'forget c1', 'forget d1', 'stop c3.1 w2', 'assign u.2 w1'],
      [],
      ['commit u.2 w1', 'assign c1.2 w1', 'assign c2.2 w2'],
      ['commit c1.2 w1', 'assign d1.2 w1'],
      ['commit c2.2 w2', 'assign c3.2 w2'],
      ['commit d1.2 w1'],
      ['commit c3.2 w2', 'end'],
    ]);
  });

  test('an attempt that was stopped for a lost input is no failure of its task, however it ends', () => {
    const tasks = [task('u'), task('c1', { dependsOn: ['u'] }), task('c2', { dependsOn: ['u'] })];
    const ends = [
      failed('w2', 'c2', 1, failure('CANCELLED', { retryable: false })),
      failed('w2', 'c2', 1, failure('IO', { lostInputs: ['u'] })),
      lost('w2'),
    ];
    for (const end of ends) {
      const events = [
        up('w1'),
        up('w2'),
        done('w1', 'u'),
        failed('w1', 'c1', 1, failure('IO', { lostInputs: ['u'] })),
        done('w1', 'u', 2),
        end,
      ];
      const actions = play(tasks, events);
      expect(actions[3]).toEqual(['forget u', 'stop c2.1 w2', 'assign u.2 w1']);
      expect(actions[4]).toEqual(['commit u.2 w1', 'assign c1.2 w1']);
      expect(actions[5]).toEqual(end.kind === 'failed' ? ['assign c2.2 w2'] : []);
    }
  });

  test('an abort stops what runs and ends when it has stopped; a done that comes late is no commit', () => {
    const events: SchedulerEvent[] = [
      up('w1'),
      { kind: 'abort', failure: failure('CANCELLED') },
      done('w1', 'a'),
      done('w1', 'a'),
    ];
    expect(play([task('a')], events)).toEqual([['assign a.1 w1'], ['stop a.1 w1'], ['end  CANCELLED'], []]);
  });

  test('finished tasks of an earlier driver are not run again', () => {
    const tasks = [task('a'), task('b', { dependsOn: ['a'] })];
    expect(play(tasks, [up('w1'), done('w1', 'b')], ['a'])).toEqual([
      ['assign b.1 w1'],
      ['commit b.1 w1', 'end'],
    ]);
    expect(play(tasks, [up('w1')], ['a', 'b'])).toEqual([['end']]);
  });

  test('ends every job whatever workers do, each result made from the one attempt of its inputs that counts', () => {
    // A walk over pseudo-random events: each job of 12 tasks in 4 layers must end, with each commit once.
    let jobsWithLosses = 0;
    for (let seed = 1; seed <= 300; seed++) {
      let random = seed;
      const next = (below: number): number => {
        random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fffffff;
        return (random >>> 8) % below;
      };
      const tasks = Array.from({ length: 12 }, (_, index) =>
        task(`t${index}`, {
          dependsOn:
            index < 3
              ? []
              : [`t${next(index)}`, `t${index - 3}`].filter((id, at, all) => all.indexOf(id) === at),
          exclusive: next(5) === 0,
        }),
      );
      const state = createScheduler(tasks);
      const running = new Map<string, { task: string; attempt: number }>();
      /** Attempts that count, and those that each attempt reads: what was committed when it was assigned. */
      const committed = new Map<string, number>();
      const inputsRead = new Map<string, (number | undefined)[]>();
      const countingInputs = (id: string): (number | undefined)[] =>
        state.tasks.get(id)!.task.dependsOn.map((input) => committed.get(input));
      const stopped = new Set<string>();
      let losses = 0;
      let ended = false;
      let workers = 0;
      const feed = (event: SchedulerEvent): void => {
        for (const action of step(state, event)) {
          if (action.kind === 'end') ended = true;
          if (action.kind === 'commit') {
            expect(committed.has(action.task)).toBe(false);
            committed.set(action.task, action.attempt);
          }
          if (action.kind === 'forget') {
            expect(committed.delete(action.task)).toBe(true);
            losses++;
          }
          if (action.kind === 'stop') stopped.add(action.worker);
          if (action.kind !== 'assign') continue;
          expect(running.has(action.worker)).toBe(false);
          expect(inputsRead.has(`${action.task}.${action.attempt}`)).toBe(false);
          inputsRead.set(`${action.task}.${action.attempt}`, countingInputs(action.task));
          running.set(action.worker, action);
        }
      };
      for (let turn = 0; turn < 1_000 && !ended; turn++) {
        const busy = [...running.keys()];
        const chosen = busy[next(Math.max(1, busy.length))];
        if (chosen === undefined || next(6) === 0) {
          workers++;
          feed(up(`w${workers}`, `n${workers % 2}`));
          continue;
        }
        const { task: id, attempt } = running.get(chosen)!;
        running.delete(chosen);
        const dice = next(20);
        const inputs = tasks.find((candidate) => candidate.id === id)!.dependsOn;
        // A worker may have been done before it was told to stop.
        const obeys = stopped.delete(chosen) && next(2) === 0;
        if (obeys) feed(failed(chosen, id, attempt, failure('CANCELLED', { retryable: false })));
        else if (dice === 0) feed(lost(chosen));
        else if (dice === 1)
          feed(failed(chosen, id, attempt, failure('IO', { lostInputs: inputs.slice(0, 1) })));
        else feed(done(chosen, id, attempt));
      }
      expect(ended, `seed ${seed}`).toBe(true);
      if (state.outcome === undefined) {
        expect(committed.size).toBe(12);
        for (const [id, attempt] of committed) {
          expect(inputsRead.get(`${id}.${attempt}`), `seed ${seed}: ${id}`).toEqual(countingInputs(id));
        }
        if (losses > 0) jobsWithLosses++;
      }
    }
    expect(jobsWithLosses).toBeGreaterThan(100);
  });
});
