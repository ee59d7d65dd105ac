import { FsError } from '@catena/core';
import { expect, test } from 'vitest';
import { about } from './about.ts';

const failing = (error: unknown) => () => Promise.reject(error);

test('an error says its path once, and keeps code, context and cause', async () => {
  const bare = new FsError('NOT_FOUND', '', { context: { inode: 7n } as never, retryAfterMs: 5 });
  const told = await about('/nope', failing(bare)).catch((error: unknown) => error);
  expect(told).toMatchObject({ code: 'NOT_FOUND', detail: '/nope', retryAfterMs: 5, cause: bare });
  expect((told as FsError).context).toEqual(bare.context);
  expect((told as FsError).message).toMatch(/: \/nope$/);
  await expect(about('/nope', failing(told))).rejects.toBe(told);
  await expect(about('/a/b', failing(new FsError('NOT_DIRECTORY', 'a')))).rejects.toMatchObject({
    detail: '/a/b: a',
  });
  const same = new FsError('INVALID_ARGUMENT', '/a does not end in a name');
  await expect(about('/a', failing(same))).rejects.toBe(same);
});

test('other failures and results pass', async () => {
  const broken = new TypeError('bug');
  await expect(about('/a', failing(broken))).rejects.toBe(broken);
  await expect(about('/a', async () => 3)).resolves.toBe(3);
});
