import { message } from '@catena/core';
import { beforeEach, describe, expect, test } from 'vitest';
import { name, refused, TestClient, TestService, type User } from '../testing/service.ts';
import type { Caller } from './operation.ts';
import { mayExecute, mayRead, mayWrite, permits } from './permissions.ts';

const { FILE_DIRECTORY, FILE_REGULAR } = message.FileType;
const owner: Caller = { uid: 10, gid: 20, groups: [] };
const member: Caller = { uid: 11, gid: 20, groups: [] };
const bySupplement: Caller = { uid: 11, gid: 99, groups: [98, 20] };
const other: Caller = { uid: 11, gid: 99, groups: [98] };
const root: Caller = { uid: 0, gid: 0, groups: [] };

test('every mode, class and wish: the table that Linux keeps', () => {
  for (let mode = 0; mode < 0o1000; mode++) {
    for (const type of [FILE_REGULAR, FILE_DIRECTORY]) {
      const inode = message.Inode.fromPartial({ uid: 10, gid: 20, mode, type });
      for (let wanted = 1; wanted < 8; wanted++) {
        const has = (bits: number): boolean => (bits & wanted) === wanted;
        expect(permits(inode, owner, wanted)).toBe(has(mode >> 6));
        expect(permits(inode, member, wanted)).toBe(has((mode >> 3) & 7));
        expect(permits(inode, bySupplement, wanted)).toBe(has((mode >> 3) & 7));
        expect(permits(inode, other, wanted)).toBe(has(mode & 7));
        const executable = type === FILE_DIRECTORY || (mode & 0o111) !== 0;
        expect(permits(inode, root, wanted)).toBe((wanted & mayExecute) === 0 || executable);
      }
    }
  }
  expect(mayRead | mayWrite | mayExecute).toBe(7);
});

describe('operations by the rights on the directory', () => {
  let service: TestService;
  let client: TestClient;
  let top: bigint;
  let file: bigint;
  const alice: User = { uid: 10, gid: 20 };
  const bob: User = { uid: 11, gid: 99 };

  beforeEach(async () => {
    service = await new TestService({ root: { mode: 0o777 } }).open();
    client = await new TestClient(service).hello();
    const made = await client.call(
      'makeDirectory',
      { parent: 1n, name: name('top'), mode: 0o777 },
      { user: alice },
    );
    top = made.inode!.id;
    const node = { parent: top, name: name('file'), mode: 0o644, type: FILE_REGULAR };
    file = (await client.call('makeNode', node, { user: alice })).inode!.id;
    await client.call('makeDirectory', { parent: top, name: name('sub'), mode: 0o777 }, { user: alice });
  });

  const at = (text: string) => ({ parent: top, name: name(text) });
  const renamed = (from: string, to: string) => ({
    sourceParent: top,
    sourceName: name(from),
    targetParent: top,
    targetName: name(to),
    flags: 0,
  });
  /** Each operation with the right on the directory that it needs beside searching. */
  const operations: [string, number, (user: User) => Promise<unknown>][] = [
    ['lookup', 0, (user) => client.call('lookup', at('file'), { user })],
    ['open by create', 0, (user) => client.call('create', { ...at('file'), mode: 0, flags: 0 }, { user })],
    ['create', mayWrite, (user) => client.call('create', { ...at('new'), mode: 0o600, flags: 2 }, { user })],
    [
      'makeDirectory',
      mayWrite,
      (user) => client.call('makeDirectory', { ...at('new'), mode: 0o700 }, { user }),
    ],
    [
      'makeNode',
      mayWrite,
      (user) => client.call('makeNode', { ...at('new'), mode: 0o600, type: 3 }, { user }),
    ],
    ['symlink', mayWrite, (user) => client.call('symlink', { ...at('new'), target: name('x') }, { user })],
    ['link', mayWrite, (user) => client.call('link', { ...at('new'), inode: file }, { user })],
    ['unlink', mayWrite, (user) => client.call('unlink', at('file'), { user })],
    ['removeDirectory', mayWrite, (user) => client.call('removeDirectory', at('sub'), { user })],
    ['rename', mayWrite, (user) => client.call('rename', renamed('file', 'new'), { user })],
  ];

  for (const [title, needed, act] of operations) {
    for (let bits = 0; bits < 8; bits++) {
      const allowed = (bits & mayExecute) !== 0 && (bits & needed) === needed;
      test(`${title} with ${bits.toString(8)} is ${allowed ? 'done' : 'refused'}`, async () => {
        await client.call('setAttributes', { inode: top, mode: 0o770 | bits }, { user: alice });
        if (allowed) {
          await act(bob);
          return;
        }
        const before = await client.call('stat', { inode: top });
        expect(await refused(act(bob))).toBe('PERMISSION_DENIED');
        expect(await client.call('stat', { inode: top }), 'and nothing has changed').toEqual(before);
      });
    }
  }

  test('listing needs the right to read', async () => {
    await client.call('setAttributes', { inode: top, mode: 0o771 }, { user: alice });
    expect(await refused(client.call('readDirectory', { inode: top }, { user: bob }))).toBe(
      'PERMISSION_DENIED',
    );
    await client.call('setAttributes', { inode: top, mode: 0o774 }, { user: alice });
    expect((await client.call('readDirectory', { inode: top }, { user: bob })).entries.length).toBe(2);
  });

  test('in a sticky directory only the owners of file or directory remove and rename', async () => {
    await client.call('setAttributes', { inode: top, mode: 0o1777 }, { user: alice });
    const carol: User = { uid: 12, gid: 12 };
    await client.call('makeNode', { ...at('bobs'), mode: 0o666, type: FILE_REGULAR }, { user: bob });
    const remove = (text: string, user: User) => client.call('unlink', at(text), { user });
    const move = (from: string, to: string, user: User) => client.call('rename', renamed(from, to), { user });
    expect(await refused(remove('bobs', carol))).toBe('NOT_PERMITTED');
    expect(await refused(move('bobs', 'mine', carol))).toBe('NOT_PERMITTED');
    await client.call('makeNode', { ...at('carols'), mode: 0o666, type: FILE_REGULAR }, { user: carol });
    expect(await refused(move('carols', 'bobs', carol)), 'nor replace').toBe('NOT_PERMITTED');
    const rmdir = client.call('removeDirectory', at('sub'), { user: carol });
    expect(await refused(rmdir)).toBe('NOT_PERMITTED');
    await move('bobs', 'still-bobs', bob);
    await remove('still-bobs', alice);
    await remove('carols', { uid: 0, gid: 0 });
  });

  test('moving a directory to another parent needs the right to change it', async () => {
    const target = await client.call(
      'makeDirectory',
      { parent: 1n, name: name('target'), mode: 0o777 },
      { user: bob },
    );
    const move = (user: User) =>
      client.call('rename', { ...renamed('sub', 'sub'), targetParent: target.inode!.id }, { user });
    const sub = (await client.call('lookup', at('sub'))).inode!.id;
    await client.call('setAttributes', { inode: sub, mode: 0o755 }, { user: alice });
    expect(await refused(move(bob))).toBe('PERMISSION_DENIED');
    await client.call('setAttributes', { inode: sub, mode: 0o757 }, { user: alice });
    await move(bob);
  });

  test('a directory with the set-group bit hands on its group', async () => {
    await client.call('setAttributes', { inode: top, mode: 0o2777 }, { user: alice });
    const sub = await client.call('makeDirectory', { ...at('inner'), mode: 0o755 }, { user: bob });
    expect(sub.inode).toMatchObject({ gid: 20, mode: 0o2755, uid: 11 });
    const plain = await client.call(
      'makeNode',
      { ...at('plain'), mode: 0o2771, type: FILE_REGULAR },
      { user: bob },
    );
    expect(plain.inode, 'a bit that would lend a group goes').toMatchObject({ gid: 20, mode: 0o771 });
    const kept = await client.call(
      'makeNode',
      { ...at('kept'), mode: 0o2771, type: FILE_REGULAR },
      { user: { ...bob, groups: [20] } },
    );
    expect(kept.inode!.mode).toBe(0o2771);
  });

  test('open by the rights on the file', async () => {
    const open = (flags: number, user: User) => client.call('open', { inode: file, flags }, { user });
    const cases: [mode: number, flags: number, allowed: boolean][] = [
      [0o004, 0, true],
      [0o002, 0, false],
      [0o002, 1, true],
      [0o004, 1, false],
      [0o004, 2, false],
      [0o002, 2, false],
      [0o006, 2, true],
      [0o004, 0o1000, false],
      [0o006, 0o1000, true],
      [0o001, 0x20, true],
      [0o004, 0x20, false],
      [0o007, 0o200000, true],
    ];
    for (const [mode, flags, allowed] of cases) {
      await client.call('setAttributes', { inode: file, mode }, { user: alice });
      const expected = allowed ? (flags === 0o200000 ? 'NOT_DIRECTORY' : 'OK') : 'PERMISSION_DENIED';
      const outcome = await open(flags, bob).then(
        () => 'OK',
        (error: { code: string }) => error.code,
      );
      expect([mode.toString(8), flags, outcome]).toEqual([mode.toString(8), flags, expected]);
    }
    await client.call('setAttributes', { inode: file, mode: 0 }, { user: alice });
    await open(2, { uid: 0, gid: 0 });
    expect(await refused(open(0x20, { uid: 0, gid: 0 })), 'root executes only what is executable').toBe(
      'PERMISSION_DENIED',
    );
  });

  test('a request that does not say its user is nobody’s', async () => {
    await client.call('setAttributes', { inode: top, mode: 0o770 }, { user: alice });
    const { owner: loop } = service.partition;
    const { operations: served } = await import('./served.ts');
    const operation = served.find((each) => each.name === 'lookup')!;
    const header = {
      requestId: 1n,
      deadlineMs: 0,
      client: client.id.toString('latin1'),
      sequence: 0n,
      answeredUpTo: 0n,
      caller: undefined,
    };
    const answer = new Promise((resolve, reject) =>
      loop.serve(operation, header, at('file'), { done: resolve, failed: reject }),
    );
    expect(await refused(answer)).toBe('PERMISSION_DENIED');
  });
});
