import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inTurn } from './turn.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'catena-turn-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('one after another, also under other names of the folder, made or not, and after a failure', async () => {
  mkdirSync(join(folder, 'real'));
  symlinkSync(join(folder, 'real'), join(folder, 'link'));
  let inside = 0;
  let most = 0;
  const act = async (name: string): Promise<string> => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((done) => setTimeout(done, 5));
    inside -= 1;
    if (name.endsWith('real')) throw new Error('a failure');
    return name;
  };
  const names = ['real', 'link', 'real/../link/'].flatMap((name) => [name, `${name}/later/cluster`]);
  for (const depth of ['', '/later/cluster']) {
    const all = names.filter((name) => name.endsWith('cluster') === (depth !== ''));
    const turns = all.map((name) => inTurn(join(folder, name), () => act(name)));
    const ends = await Promise.allSettled(turns);
    expect(ends.filter(({ status }) => status === 'rejected')).toHaveLength(depth === '' ? 1 : 0);
  }
  expect(most).toBe(1);
});

test('different folders do not wait for each other', async () => {
  const both = await inTurn(join(folder, 'one'), () => inTurn(join(folder, 'two'), () => 'both'));
  expect(both).toBe('both');
});
