import { expect, test } from 'vitest';
import type { TaskResult } from '../plan/task.ts';
import { chooseRecovered } from './recovered.ts';

const result = (file: string): TaskResult => ({
  rows: 1,
  bytes: 1,
  seconds: 0,
  file,
  columns: [],
  partRows: [],
});

test('a result is recovered with all that it was made from, or dropped by name', () => {
  const tasks = [
    { id: 'u', dependsOn: [] },
    { id: 'v', dependsOn: [] },
    { id: 'u1', dependsOn: ['u'] },
    { id: 'v1', dependsOn: ['v'] },
    { id: 'both', dependsOn: ['u1', 'v1'] },
    { id: 'never', dependsOn: ['v1'] },
  ];
  const results = new Map(['u', 'v', 'u1', 'v1', 'both'].map((id) => [id, result(id)]));
  const choose = (...gone: string[]) => {
    const { recovered, dropped } = chooseRecovered(tasks, results, ({ file }) => !gone.includes(file));
    return { recovered: [...recovered.keys()], dropped };
  };
  expect(choose()).toEqual({ recovered: ['u', 'v', 'u1', 'v1', 'both'], dropped: [] });
  expect(choose('u')).toEqual({ recovered: ['v', 'v1'], dropped: ['u', 'u1', 'both'] });
  expect(choose('v1')).toEqual({ recovered: ['u', 'v', 'u1'], dropped: ['v1', 'both'] });
  expect(choose('both', 'never')).toEqual({ recovered: ['u', 'v', 'u1', 'v1'], dropped: ['both'] });
  // An input of which the log has no result: its driver died between the records of one loss.
  results.delete('u');
  expect(choose()).toEqual({ recovered: ['v', 'v1'], dropped: ['u1', 'both'] });
});
