import { FsError, message } from '@catena/core';
import { expect, test } from 'vitest';
import { type PathSteps, resolveLastLinks, resolveParent, resolvePath } from './paths.ts';

type Tree = { [name: string]: Tree | string };

/** A directory is an object, a link a text that begins with `->`, a file any other text. */
function stepsOf(tree: Tree): PathSteps & { pathOf(inode: message.Inode): string } {
  const nodes: { path: string; node: Tree | string }[] = [];
  const add = (path: string, node: Tree | string): void => {
    nodes.push({ path, node });
    if (typeof node === 'object') {
      for (const [name, child] of Object.entries(node)) add(`${path}/${name}`, child);
    }
  };
  add('', tree);
  const inodeAt = (index: number): message.Inode => {
    const { node } = nodes[index]!;
    const { FILE_DIRECTORY, FILE_SYMLINK, FILE_REGULAR } = message.FileType;
    const type =
      typeof node === 'object' ? FILE_DIRECTORY : node.startsWith('->') ? FILE_SYMLINK : FILE_REGULAR;
    return message.Inode.fromPartial({ id: BigInt(index + 1), type });
  };
  return {
    root: 1n,
    pathOf: (inode) => nodes[Number(inode.id) - 1]!.path || '/',
    async lookup(parent, name) {
      const directory = nodes[Number(parent) - 1]!;
      if (typeof directory.node !== 'object') throw new FsError('NOT_DIRECTORY', directory.path);
      const index = nodes.findIndex(({ path }) => path === `${directory.path}/${name}`);
      if (index === -1) throw new FsError('NOT_FOUND', name);
      return inodeAt(index);
    },
    stat: async (inode) => inodeAt(Number(inode) - 1),
    readLink: async (inode) => (nodes[Number(inode) - 1]!.node as string).slice(2),
  };
}

const steps = stepsOf({
  a: { b: { file: 'text', up: '->../other', root: '->/a', self: '->.', chain: '->up' }, other: 'text' },
  absolute: '->/a/b',
  loop: '->loop',
  first: '->second',
  second: '->first',
  dangling: '->nowhere/at/all',
  fresh: '->a/new',
});

test.each([
  ['/', '/'],
  ['///', '/'],
  ['/a/b/file', '/a/b/file'],
  ['/a//./b/../b/file', '/a/b/file'],
  ['/..', '/'],
  ['/../../a', '/a'],
  ['/a/b/up', '/a/other'],
  ['/a/b/chain', '/a/other'],
  ['/absolute/file', '/a/b/file'],
  ['/absolute/..', '/a'],
  ['/a/b/root/b/self/self/file', '/a/b/file'],
  ['/a/b/self', '/a/b'],
])('%s is %s', async (path, expected) => {
  expect(steps.pathOf(await resolvePath(steps, path))).toBe(expected);
});

test.each([
  ['a/b', 'INVALID_ARGUMENT'],
  ['', 'INVALID_ARGUMENT'],
  ['/absent', 'NOT_FOUND'],
  ['/a/absent/b', 'NOT_FOUND'],
  ['/dangling', 'NOT_FOUND'],
  ['/a/other/b', 'NOT_DIRECTORY'],
  ['/loop', 'LOOP'],
  ['/first/x', 'LOOP'],
  [`/${'x/'.repeat(2100)}`, 'NAME_TOO_LONG'],
])('%s fails with %s', async (path, code) => {
  await expect(resolvePath(steps, path)).rejects.toMatchObject({ code });
});

test('the last link is not followed when it is itself meant', async () => {
  expect(steps.pathOf(await resolvePath(steps, '/a/b/up', false))).toBe('/a/b/up');
  expect(steps.pathOf(await resolvePath(steps, '/absolute/up', false))).toBe('/a/b/up');
});

test('a chain of 40 links is followed, one of 41 is not', async () => {
  const chainOf = (count: number): Tree =>
    Object.fromEntries(
      Array.from({ length: count + 1 }, (_, index) => [
        `l${index}`,
        index === count ? 'text' : `->l${index + 1}`,
      ]),
    );
  const short = stepsOf(chainOf(40));
  expect(short.pathOf(await resolvePath(short, '/l0'))).toBe('/l40');
  await expect(resolvePath(stepsOf(chainOf(41)), '/l0')).rejects.toMatchObject({ code: 'LOOP' });
});

test('a place is a directory and a name that may be free', async () => {
  const parent = (await resolvePath(steps, '/a/b')).id;
  expect(await resolveParent(steps, '/absolute/new')).toEqual({ parent, name: 'new' });
  expect(await resolveParent(steps, '/a/b/up')).toEqual({ parent, name: 'up' });
  for (const path of ['/', '/a/..']) {
    await expect(resolveParent(steps, path)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
  await expect(resolveParent(steps, '/a/other/new')).rejects.toMatchObject({ code: 'NOT_DIRECTORY' });
});

test('writing through links reaches what they point to, there or not', async () => {
  const a = (await resolvePath(steps, '/a')).id;
  expect(await resolveLastLinks(steps, '/fresh')).toEqual({ parent: a, name: 'new' });
  expect(await resolveLastLinks(steps, '/a/b/chain')).toEqual({ parent: a, name: 'other' });
  expect(await resolveLastLinks(steps, '/a/b/free')).toMatchObject({ name: 'free' });
  await expect(resolveLastLinks(steps, '/loop')).rejects.toMatchObject({ code: 'LOOP' });
});
