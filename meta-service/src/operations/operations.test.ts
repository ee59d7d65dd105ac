import { message } from '@catena/core';
import { beforeEach, describe, expect, test } from 'vitest';
import { name, refused, settle, TestClient, TestService } from '../testing/service.ts';

const { FILE_DIRECTORY, FILE_REGULAR, FILE_FIFO, FILE_CHARACTER, FILE_SYMLINK } = message.FileType;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const rootId = 1n;
const alice = { uid: 1000, gid: 1000 };
const bob = { uid: 1001, gid: 1001 };

let service: TestService;
let client: TestClient;

beforeEach(async () => {
  service = await new TestService({ root: { mode: 0o777 } }).open();
  client = await new TestClient(service).hello();
});

async function makeDirectory(
  parent: bigint,
  text: string,
  mode = 0o755,
  user = alice,
): Promise<message.Inode> {
  const { inode } = await client.call('makeDirectory', { parent, name: name(text), mode }, { user });
  return inode!;
}
async function makeFile(parent: bigint, text: string, mode = 0o644, user = alice): Promise<message.Inode> {
  const reply = await client.call(
    'create',
    { parent, name: name(text), mode, flags: O_RDWR | O_EXCL },
    { user },
  );
  await client.call('close', { inode: reply.inode!.id, session: reply.session });
  return reply.inode!;
}
async function stat(inode: bigint): Promise<message.Inode> {
  return (await client.call('stat', { inode })).inode!;
}
async function lookup(parent: bigint, text: string): Promise<message.Inode> {
  return (await client.call('lookup', { parent, name: name(text) })).inode!;
}
async function names(inode: bigint): Promise<string[]> {
  const { entries } = await client.call('readDirectory', { inode });
  return entries.map((entry) => entry.name.toString()).sort();
}

describe('lookup and stat', () => {
  test('find what was made, with the same attributes', async () => {
    const made = await makeFile(rootId, 'file');
    expect(await lookup(rootId, 'file')).toEqual(made);
    expect(await stat(made.id)).toEqual(made);
    expect(made).toMatchObject({
      type: FILE_REGULAR,
      mode: 0o644,
      uid: 1000,
      gid: 1000,
      nlink: 1,
      length: 0n,
    });
    expect(made.layout).toMatchObject({ table: 1, tableVersion: 3, chunkSize: 1 << 20, stripe: 4 });
  });
  test('dot and dot-dot', async () => {
    const inner = await makeDirectory((await makeDirectory(rootId, 'a')).id, 'b');
    expect((await lookup(inner.id, '.')).id).toBe(inner.id);
    expect((await lookup(inner.id, '..')).id).toBe(inner.parent);
    expect((await lookup(rootId, '..')).id).toBe(rootId);
  });
  test('refusals', async () => {
    const file = await makeFile(rootId, 'file');
    expect(await refused(lookup(rootId, 'none'))).toBe('NOT_FOUND');
    expect(await refused(lookup(file.id, 'x'))).toBe('NOT_DIRECTORY');
    expect(await refused(lookup(999n, 'x'))).toBe('STALE_HANDLE');
    expect(await refused(lookup(rootId, ''))).toBe('INVALID_ARGUMENT');
    expect(await refused(lookup(rootId, 'a/b'))).toBe('INVALID_ARGUMENT');
    expect(await refused(lookup(rootId, 'a\0b'))).toBe('INVALID_ARGUMENT');
    expect(await refused(lookup(rootId, 'n'.repeat(256)))).toBe('NAME_TOO_LONG');
    expect(await refused(lookup(rootId, 'n'.repeat(255)))).toBe('NOT_FOUND');
    expect(await refused(stat(999n))).toBe('STALE_HANDLE');
  });
});

describe('create', () => {
  const create = (text: string, flags: number, mode = 0o644, user = alice) =>
    client.call('create', { parent: rootId, name: name(text), mode, flags }, { user });

  test('opens the file that exists, unless O_EXCL', async () => {
    const first = await create('file', O_RDWR);
    expect(first.created).toBe(true);
    const second = await create('file', O_RDWR);
    expect(second.created).toBe(false);
    expect(second.inode!.id).toBe(first.inode!.id);
    expect(second.session).not.toBe(first.session);
    expect(await refused(create('file', O_RDWR | O_EXCL))).toBe('EXISTS');
  });
  test('is open for what was asked whatever the mode', async () => {
    expect((await create('sealed', O_WRONLY, 0o000)).session).not.toBe(0n);
    expect(await refused(create('sealed', O_WRONLY, 0o600))).toBe('PERMISSION_DENIED');
  });
  test('refusals', async () => {
    await makeDirectory(rootId, 'directory');
    await client.call('symlink', { parent: rootId, name: name('link'), target: name('x') });
    expect(await refused(create('directory', O_RDWR))).toBe('IS_DIRECTORY');
    expect(await refused(create('link', O_RDWR))).toBe('LOOP');
    expect(await refused(create('.', O_RDWR))).toBe('IS_DIRECTORY');
    expect(await refused(create('n'.repeat(256), O_RDWR))).toBe('NAME_TOO_LONG');
  });
  test('marks the directory', async () => {
    const before = await stat(rootId);
    service.clock.advance(1000);
    await makeFile(rootId, 'file');
    const after = await stat(rootId);
    expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
    expect(after.ctimeNs).toBe(after.mtimeNs);
    expect(after.change).toBeGreaterThan(before.change);
    expect(after.entries).toBe(before.entries + 1n);
    expect(after.nlink).toBe(before.nlink);
  });
  test('small files are spread evenly over the chains', async () => {
    const counts = [0, 0, 0, 0];
    for (let index = 0; index < 400; index++) {
      const { layout } = await makeFile(rootId, `f${index}`);
      counts[layout!.first]!++;
    }
    for (const count of counts) expect(count).toBeGreaterThan(80);
  });
});

describe('directories', () => {
  test('links count subdirectories, entries count names', async () => {
    const top = await makeDirectory(rootId, 'top');
    expect(top.nlink).toBe(2);
    await makeDirectory(top.id, 'one');
    await makeDirectory(top.id, 'two');
    await makeFile(top.id, 'file');
    expect(await stat(top.id)).toMatchObject({ nlink: 4, entries: 3n });
    await client.call('removeDirectory', { parent: top.id, name: name('one') });
    expect(await stat(top.id)).toMatchObject({ nlink: 3, entries: 2n });
  });
  test('are spread over partitions; files stay in their directory’s', async () => {
    const top = await makeDirectory(rootId, 'top');
    const other = await makeDirectory(rootId, 'other');
    const file = await makeFile(top.id, 'file');
    expect(top.id >> 48n).not.toBe(other.id >> 48n);
    expect(top.id >> 48n).toBeLessThan(4096n);
    expect(file.id >> 48n).toBe(top.id >> 48n);
  });
  test('removal', async () => {
    const top = await makeDirectory(rootId, 'top');
    await makeFile(top.id, 'file');
    const remove = (parent: bigint, text: string) =>
      client.call('removeDirectory', { parent, name: name(text) });
    expect(await refused(remove(rootId, 'top'))).toBe('NOT_EMPTY');
    expect(await refused(remove(top.id, 'file'))).toBe('NOT_DIRECTORY');
    expect(await refused(remove(top.id, 'none'))).toBe('NOT_FOUND');
    expect(await refused(remove(top.id, '.'))).toBe('INVALID_ARGUMENT');
    expect(await refused(remove(top.id, '..'))).toBe('NOT_EMPTY');
    expect(await refused(client.call('unlink', { parent: rootId, name: name('top') }))).toBe('IS_DIRECTORY');
    await client.call('unlink', { parent: top.id, name: name('file') });
    await remove(rootId, 'top');
    expect(await refused(lookup(rootId, 'top'))).toBe('NOT_FOUND');
    expect(await refused(stat(top.id))).toBe('STALE_HANDLE');
    expect(await refused(makeDirectory(top.id, 'x'))).toBe('STALE_HANDLE');
  });
  test('a removed directory that is open has no links and takes no names', async () => {
    const top = await makeDirectory(rootId, 'top');
    const { session } = await client.call('open', { inode: top.id, flags: 0 }, { user: alice });
    await client.call('removeDirectory', { parent: rootId, name: name('top') });
    expect(await stat(top.id)).toMatchObject({ nlink: 0, entries: 0n });
    expect(await names(top.id)).toEqual([]);
    expect(await refused(makeDirectory(top.id, 'x'))).toBe('NOT_FOUND');
    expect(
      await refused(client.call('create', { parent: top.id, name: name('x'), mode: 0o600, flags: 0 })),
    ).toBe('NOT_FOUND');
    await client.call('close', { inode: top.id, session });
    expect(await refused(stat(top.id))).toBe('STALE_HANDLE');
  });
});

describe('nodes and symbolic links', () => {
  test('mknod', async () => {
    const node = (text: string, type: message.FileType, user = alice) =>
      client.call(
        'makeNode',
        { parent: rootId, name: name(text), mode: 0o600, type, device: 0x0103 },
        { user },
      );
    expect((await node('pipe', FILE_FIFO)).inode).toMatchObject({ type: FILE_FIFO, device: 0 });
    expect((await node('file', FILE_REGULAR)).inode!.layout).toBeDefined();
    expect(await refused(node('device', FILE_CHARACTER))).toBe('NOT_PERMITTED');
    expect((await node('device', FILE_CHARACTER, { uid: 0, gid: 0 })).inode!.device).toBe(0x0103);
    expect(await refused(node('directory', FILE_DIRECTORY))).toBe('NOT_PERMITTED');
    expect(await refused(node('link', FILE_SYMLINK))).toBe('INVALID_ARGUMENT');
    expect(await refused(node('strange', 77 as message.FileType))).toBe('INVALID_ARGUMENT');
    expect(await refused(node('pipe', FILE_FIFO))).toBe('EXISTS');
    expect(await refused(client.call('open', { inode: (await lookup(rootId, 'pipe')).id, flags: 0 }))).toBe(
      'NOT_SUPPORTED',
    );
  });
  test('symlink and readlink', async () => {
    const link = (text: string, target: string) =>
      client.call('symlink', { parent: rootId, name: name(text), target: name(target) }, { user: alice });
    const { inode } = await link('link', 'over/there');
    expect(inode).toMatchObject({ type: FILE_SYMLINK, mode: 0o777, length: 10n });
    expect((await client.call('readLink', { inode: inode!.id })).target.toString()).toBe('over/there');
    expect((await link('long', 'x'.repeat(4095))).inode!.length).toBe(4095n);
    expect(await refused(link('longer', 'x'.repeat(4096)))).toBe('NAME_TOO_LONG');
    expect(await refused(link('empty', ''))).toBe('NOT_FOUND');
    expect(await refused(client.call('readLink', { inode: rootId }))).toBe('INVALID_ARGUMENT');
    expect(await refused(client.call('open', { inode: inode!.id, flags: 0 }))).toBe('LOOP');
  });
});

describe('link and unlink', () => {
  test('a file lives as long as it has a name', async () => {
    const file = await makeFile(rootId, 'one');
    service.clock.advance(1000);
    const { inode } = await client.call(
      'link',
      { inode: file.id, parent: rootId, name: name('two') },
      { user: alice },
    );
    expect(inode!.nlink).toBe(2);
    expect(inode!.ctimeNs).toBeGreaterThan(file.ctimeNs);
    expect(inode!.mtimeNs).toBe(file.mtimeNs);
    await client.call('unlink', { parent: rootId, name: name('one') });
    expect((await lookup(rootId, 'two')).nlink).toBe(1);
    await client.call('unlink', { parent: rootId, name: name('two') });
    expect(await refused(stat(file.id))).toBe('STALE_HANDLE');
    expect(await refused(client.call('unlink', { parent: rootId, name: name('two') }))).toBe('NOT_FOUND');
  });
  test('refusals of link', async () => {
    const directory = await makeDirectory(rootId, 'directory');
    const file = await makeFile(rootId, 'file');
    const link = (inode: bigint, text: string) =>
      client.call('link', { inode, parent: rootId, name: name(text) });
    expect(await refused(link(directory.id, 'x'))).toBe('NOT_PERMITTED');
    expect(await refused(link(file.id, 'directory'))).toBe('EXISTS');
    expect(await refused(link(999n, 'x'))).toBe('STALE_HANDLE');
  });
  test('a file without a name lives until its last session closes, and cannot get a name again', async () => {
    const { inode, session } = await client.call('create', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      flags: O_RDWR,
    });
    const id = inode!.id;
    const second = await client.call('open', { inode: id, flags: 0 });
    service.chunks.write(id, inode!.layout!, 0n, 5000);
    await client.call('report', { inode: id, session, report: { length: 5000n, generation: 0n, ageNs: 0n } });
    await client.call('unlink', { parent: rootId, name: name('f') });
    expect(await stat(id)).toMatchObject({ nlink: 0, length: 5000n });
    expect(await refused(client.call('link', { inode: id, parent: rootId, name: name('again') }))).toBe(
      'NOT_FOUND',
    );
    await client.call('close', { inode: id, session });
    expect(await stat(id)).toMatchObject({ nlink: 0 });
    expect(service.chunks.chunksOf(id)).toBe(1);
    await client.call('close', { inode: id, session: second.session });
    expect(await refused(stat(id))).toBe('STALE_HANDLE');
    await service.pass(500);
    expect(service.chunks.chunksOf(id)).toBe(0);
  });
});

describe('truncate and length', () => {
  async function openFile(text: string, bytes: number): Promise<{ inode: message.Inode; session: bigint }> {
    const { inode, session } = await client.call(
      'create',
      { parent: rootId, name: name(text), mode: 0o666, flags: O_RDWR },
      { user: alice },
    );
    service.chunks.write(inode!.id, inode!.layout!, 0n, bytes);
    const report = { length: BigInt(bytes), generation: 0n, ageNs: 0n };
    return { inode: (await client.call('report', { inode: inode!.id, session, report })).inode!, session };
  }

  test('a cut raises the generation and trims the chunks before it is answered', async () => {
    const { inode } = await openFile('file', 3 << 20);
    expect(service.chunks.chunksOf(inode.id)).toBe(3);
    const cut = await client.call('setAttributes', { inode: inode.id, length: 10n }, { user: alice });
    expect(cut.inode).toMatchObject({ length: 10n, generation: 1n });
    expect(service.chunks.chunksOf(inode.id)).toBe(1);
    expect(await service.chunks.queryLength(inode.id, inode.layout!)).toBe(10n);
    const grown = await client.call('setAttributes', { inode: inode.id, length: 100n }, { user: alice });
    expect(grown.inode).toMatchObject({ length: 100n, generation: 1n });
  });
  test('reports of before a cut are dropped, later ones never shrink', async () => {
    const { inode, session } = await openFile('file', 1000);
    await client.call('setAttributes', { inode: inode.id, length: 0n });
    const report = (length: bigint, generation: bigint) =>
      client.call('report', { inode: inode.id, session, report: { length, generation, ageNs: 0n } });
    expect((await report(5000n, 0n)).inode!.length).toBe(0n);
    expect((await report(300n, 1n)).inode!.length).toBe(300n);
    expect((await report(200n, 1n)).inode!.length).toBe(300n);
  });
  test('O_TRUNC cuts, for open and create', async () => {
    const { inode } = await openFile('file', 1000);
    const opened = await client.call('open', { inode: inode.id, flags: O_WRONLY | O_TRUNC });
    expect(opened.inode).toMatchObject({ length: 0n, generation: 1n });
    expect(service.chunks.chunksOf(inode.id)).toBe(0);
    const created = await client.call('create', {
      parent: rootId,
      name: name('file'),
      mode: 0,
      flags: O_WRONLY | O_TRUNC,
    });
    expect(created).toMatchObject({ created: false, inode: { length: 0n } });
  });
  test('another client’s unreported bytes are cut, too', async () => {
    const { inode } = await openFile('file', 0);
    service.chunks.write(inode.id, inode.layout!, 0n, 2 << 20);
    const other = await new TestClient(service, 'other').hello();
    await other.call('setAttributes', { inode: inode.id, length: 5n });
    expect(await service.chunks.queryLength(inode.id, inode.layout!)).toBe(5n);
  });
  test('refusals', async () => {
    const { inode } = await openFile('file', 10);
    const set = (id: bigint, length: bigint, user = alice) =>
      client.call('setAttributes', { inode: id, length }, { user });
    expect(await refused(set(rootId, 0n))).toBe('IS_DIRECTORY');
    expect(await refused(set(inode.id, 1n << 63n))).toBe('FILE_TOO_LARGE');
    await client.call('setAttributes', { inode: inode.id, mode: 0o444 }, { user: alice });
    expect(await refused(set(inode.id, 1n))).toBe('PERMISSION_DENIED');
  });
  test('through a handle: no right is asked for, but the handle must be one for writing', async () => {
    const { inode, session } = await openFile('file', 10);
    await client.call('setAttributes', { inode: inode.id, mode: 0o000 }, { user: alice });
    const by = (handle: bigint) =>
      client.call('setAttributes', { inode: inode.id, length: 3n, session: handle }, { user: bob });
    expect((await by(session)).inode!.length).toBe(3n);
    const reader = await client.call('open', { inode: inode.id, flags: 0 });
    expect(await refused(by(reader.session))).toBe('INVALID_ARGUMENT');
    expect(await refused(by(12345n))).toBe('BAD_HANDLE');
  });
  test('a report needs a session of this client for writing', async () => {
    const { inode, session } = await openFile('file', 10);
    const other = await new TestClient(service, 'other').hello();
    const report = { length: 1n, generation: 0n };
    expect(await refused(other.call('report', { inode: inode.id, session, report }))).toBe('BAD_HANDLE');
    const reader = await client.call('open', { inode: inode.id, flags: 0 });
    expect(await refused(client.call('report', { inode: inode.id, session: reader.session, report }))).toBe(
      'BAD_HANDLE',
    );
  });
  test('mtime is the time of the last write, unless it was set by hand since', async () => {
    const { inode, session } = await openFile('file', 10);
    service.clock.advance(10_000);
    const now = service.clock.wallNs();
    const report = (length: bigint, ageNs: bigint) =>
      client.call('report', { inode: inode.id, session, report: { length, generation: 0n, ageNs } });
    expect((await report(20n, 3_000_000_000n)).inode!.mtimeNs).toBe(now - 3_000_000_000n);
    await client.call('setAttributes', { inode: inode.id, mtimeNs: 5n }, { user: alice });
    service.clock.advance(1_000);
    const closed = await client.call('close', {
      inode: inode.id,
      session,
      report: { length: 30n, ageNs: 2_000_000_000n },
    });
    expect(closed.inode).toMatchObject({ mtimeNs: 5n, length: 30n });
  });
});

describe('rename', () => {
  const rename = (
    sourceParent: bigint,
    source: string,
    targetParent: bigint,
    target: string,
    flags = 0,
    user = alice,
  ) =>
    client.call(
      'rename',
      { sourceParent, sourceName: name(source), targetParent, targetName: name(target), flags },
      { user },
    );

  test('within a directory and across', async () => {
    const a = await makeDirectory(rootId, 'a');
    const b = await makeDirectory(rootId, 'b');
    const sub = await makeDirectory(a.id, 'sub');
    await rename(a.id, 'sub', a.id, 'renamed');
    expect(await stat(a.id)).toMatchObject({ nlink: 3, entries: 1n });
    await rename(a.id, 'renamed', b.id, 'moved');
    expect(await stat(a.id)).toMatchObject({ nlink: 2, entries: 0n });
    expect(await stat(b.id)).toMatchObject({ nlink: 3, entries: 1n });
    expect((await lookup(sub.id, '..')).id).toBe(b.id);
  });
  test('replaces by kind', async () => {
    const full = await makeDirectory(rootId, 'full');
    await makeFile(full.id, 'x');
    await makeDirectory(rootId, 'empty');
    const file = await makeFile(rootId, 'file');
    const other = await makeFile(rootId, 'other');
    expect(await refused(rename(rootId, 'file', rootId, 'empty'))).toBe('IS_DIRECTORY');
    expect(await refused(rename(rootId, 'empty', rootId, 'file'))).toBe('NOT_DIRECTORY');
    expect(await refused(rename(rootId, 'empty', rootId, 'full'))).toBe('NOT_EMPTY');
    expect(await refused(rename(rootId, 'none', rootId, 'file'))).toBe('NOT_FOUND');
    await rename(rootId, 'file', rootId, 'other');
    expect((await lookup(rootId, 'other')).id).toBe(file.id);
    expect(await refused(stat(other.id))).toBe('STALE_HANDLE');
    await rename(rootId, 'full', rootId, 'empty');
    expect(await stat(rootId)).toMatchObject({ nlink: 3, entries: 2n });
    expect(await names(rootId)).toEqual(['empty', 'other']);
  });
  test('never into itself', async () => {
    const a = await makeDirectory(rootId, 'a');
    const b = await makeDirectory(a.id, 'b');
    const c = await makeDirectory(b.id, 'c');
    expect(await refused(rename(rootId, 'a', c.id, 'x'))).toBe('INVALID_ARGUMENT');
    expect(await refused(rename(rootId, 'a', a.id, 'x'))).toBe('INVALID_ARGUMENT');
    expect(await refused(rename(b.id, 'c', rootId, 'a'))).toBe('NOT_EMPTY');
    expect(await refused(rename(b.id, 'c', rootId, 'a', 2))).toBe('INVALID_ARGUMENT');
    expect(await refused(rename(rootId, 'a', b.id, 'c', 2))).toBe('INVALID_ARGUMENT');
  });
  test('two names of one file: nothing happens', async () => {
    const file = await makeFile(rootId, 'one');
    await client.call('link', { inode: file.id, parent: rootId, name: name('two') });
    await rename(rootId, 'one', rootId, 'two');
    expect(await names(rootId)).toEqual(['one', 'two']);
    await rename(rootId, 'one', rootId, 'one');
    expect(await names(rootId)).toEqual(['one', 'two']);
  });
  test('NOREPLACE and EXCHANGE', async () => {
    const a = await makeDirectory(rootId, 'a');
    const inner = await makeDirectory(a.id, 'inner');
    const file = await makeFile(rootId, 'file');
    expect(await refused(rename(rootId, 'file', rootId, 'a', 1))).toBe('EXISTS');
    expect(await refused(rename(rootId, 'file', rootId, 'none', 2))).toBe('NOT_FOUND');
    expect(await refused(rename(rootId, 'file', rootId, 'a', 3))).toBe('INVALID_ARGUMENT');
    expect(await refused(rename(rootId, 'file', rootId, 'a', 4))).toBe('INVALID_ARGUMENT');
    await rename(rootId, 'file', a.id, 'inner', 2);
    expect((await lookup(rootId, 'file')).id).toBe(inner.id);
    expect((await lookup(a.id, 'inner')).id).toBe(file.id);
    expect((await lookup(inner.id, '..')).id).toBe(rootId);
    expect(await stat(rootId)).toMatchObject({ nlink: 4 });
    expect(await stat(a.id)).toMatchObject({ nlink: 2, entries: 1n });
    await rename(rootId, 'file', rootId, 'fresh', 1);
    expect(await names(rootId)).toEqual(['a', 'fresh']);
  });
  test('a replaced file that is open lives on', async () => {
    await makeFile(rootId, 'new');
    const old = await makeFile(rootId, 'old');
    const { session } = await client.call('open', { inode: old.id, flags: 0 }, { user: alice });
    await rename(rootId, 'new', rootId, 'old');
    expect((await stat(old.id)).nlink).toBe(0);
    await client.call('close', { inode: old.id, session });
    expect(await refused(stat(old.id))).toBe('STALE_HANDLE');
  });
  test('marks both directories and the inode', async () => {
    const a = await makeDirectory(rootId, 'a');
    const b = await makeDirectory(rootId, 'b');
    const file = await makeFile(a.id, 'f');
    service.clock.advance(5_000);
    await rename(a.id, 'f', b.id, 'f');
    const now = service.clock.wallNs();
    expect(await stat(a.id)).toMatchObject({ mtimeNs: now, ctimeNs: now });
    expect(await stat(b.id)).toMatchObject({ mtimeNs: now, ctimeNs: now });
    expect(await stat(file.id)).toMatchObject({ mtimeNs: file.mtimeNs, ctimeNs: now });
  });
});

describe('readdir', () => {
  test('pages with stable offsets, while names come and go', async () => {
    const top = await makeDirectory(rootId, 'top');
    const stays = new Set<string>();
    for (let index = 0; index < 60; index++) {
      await makeFile(top.id, `file-${index}`);
      if (index % 3 !== 0) stays.add(`file-${index}`);
    }
    const seen: string[] = [];
    let offset = 0n;
    for (let page = 0; ; page++) {
      if (page % 4 === 2) await service.pass(60); // some of the names are in the store by now, some above it
      const reply = await client.call('readDirectory', { inode: top.id, offset, limit: 7 });
      for (const entry of reply.entries) {
        expect(entry.offset).toBeGreaterThan(offset);
        expect(entry.offset).toBeLessThan(1n << 63n);
        offset = entry.offset;
        seen.push(entry.name.toString());
      }
      expect(reply.parent).toBe(rootId);
      if (reply.end) break;
      const gone = `file-${page * 3}`;
      await client.call('unlink', { parent: top.id, name: name(gone) }).catch(() => {});
      await makeFile(top.id, `late-${page}`);
    }
    for (const each of stays) expect(seen.filter((other) => other === each)).toEqual([each]);
    expect(new Set(seen).size).toBe(seen.length);
  });
  test('plus brings the attributes, to those who may search', async () => {
    const top = await makeDirectory(rootId, 'top', 0o744);
    const file = await makeFile(top.id, 'file');
    const list = (user: typeof alice) =>
      client.call('readDirectory', { inode: top.id, plus: true }, { user });
    expect((await list(alice)).entries[0]!.attributes).toEqual(file);
    expect((await list(bob)).entries).toMatchObject([{ inode: file.id, attributes: undefined }]);
    await client.call('setAttributes', { inode: top.id, mode: 0o711 }, { user: alice });
    expect(await refused(list(bob))).toBe('PERMISSION_DENIED');
    expect(await refused(client.call('readDirectory', { inode: file.id }))).toBe('NOT_DIRECTORY');
  });
});

describe('chmod, chown, utimens', () => {
  const set = (inode: bigint, body: object, user: { uid: number; gid: number; groups?: number[] }) =>
    client.call('setAttributes', { inode, ...body }, { user }).then((reply) => reply.inode!);

  test('chmod: the owner or root; set-group only for members', async () => {
    const file = await makeFile(rootId, 'file');
    expect(await refused(set(file.id, { mode: 0o600 }, bob))).toBe('NOT_PERMITTED');
    expect((await set(file.id, { mode: 0o2755 }, alice)).mode).toBe(0o2755);
    await set(file.id, { gid: 77 }, { uid: 0, gid: 0 });
    expect((await set(file.id, { mode: 0o2755 }, alice)).mode).toBe(0o755);
    expect((await set(file.id, { mode: 0o6755 }, { ...alice, groups: [77] })).mode).toBe(0o6755);
    expect((await set(file.id, { mode: 0o7777 }, { uid: 0, gid: 0 })).mode).toBe(0o7777);
  });
  test('chown: root gives away, an owner changes to groups of its own; set bits go', async () => {
    const file = await makeFile(rootId, 'file', 0o6755);
    expect(file.mode).toBe(0o6755);
    expect(await refused(set(file.id, { uid: 1001 }, alice))).toBe('NOT_PERMITTED');
    expect(await refused(set(file.id, { gid: 50 }, alice))).toBe('NOT_PERMITTED');
    expect(await refused(set(file.id, { gid: 1001 }, bob))).toBe('NOT_PERMITTED');
    expect(await set(file.id, { gid: 50 }, { ...alice, groups: [50] })).toMatchObject({
      gid: 50,
      mode: 0o755,
    });
    await set(file.id, { mode: 0o6755 }, { uid: 0, gid: 0 });
    expect(await set(file.id, { uid: 5, gid: 6 }, { uid: 0, gid: 0 })).toMatchObject({
      uid: 5,
      gid: 6,
      mode: 0o755,
    });
    await set(file.id, { mode: 0o6644 }, { uid: 0, gid: 0 });
    expect((await set(file.id, { uid: 7 }, { uid: 0, gid: 0 })).mode).toBe(0o2644);
    const directory = await makeDirectory(rootId, 'd', 0o2755);
    expect((await set(directory.id, { uid: 9 }, { uid: 0, gid: 0 })).mode).toBe(0o2755);
    expect(await refused(set(file.id, { uid: 7 }, alice))).toBe('NOT_PERMITTED');
    expect((await set(directory.id, { uid: 9 }, { uid: 9, gid: 9 })).uid).toBe(9);
  });
  test('times: set by the owner, touched by whoever may write', async () => {
    const file = await makeFile(rootId, 'file', 0o642);
    const set1 = await set(file.id, { atimeNs: -5n, mtimeNs: 1_500_000_000_000_000_001n }, alice);
    expect(set1).toMatchObject({ atimeNs: -5n, mtimeNs: 1_500_000_000_000_000_001n });
    service.clock.advance(1000);
    const now = service.clock.wallNs();
    expect(await refused(set(file.id, { mtimeNs: 5n }, bob))).toBe('NOT_PERMITTED');
    expect(await refused(set(file.id, { mtimeNow: true }, bob))).toBe('NOT_PERMITTED');
    expect(await set(file.id, { mtimeNow: true, atimeNow: true }, bob)).toMatchObject({
      atimeNs: now,
      mtimeNs: now,
      ctimeNs: now,
    });
    await set(file.id, { mode: 0o640 }, alice);
    expect(await refused(set(file.id, { mtimeNow: true, atimeNow: true }, bob))).toBe('PERMISSION_DENIED');
  });
  test('a write by another than root clears the set bits when it cuts', async () => {
    const file = await makeFile(rootId, 'file', 0o6777);
    expect((await set(file.id, { length: 9n }, { uid: 0, gid: 0 })).mode).toBe(0o6777);
    expect((await set(file.id, { length: 10n }, bob)).mode).toBe(0o777);
    await set(file.id, { mode: 0o6777 }, { uid: 0, gid: 0 });
    expect((await set(file.id, { killSuid: true }, bob)).mode).toBe(0o777);
  });
  test('ctime never goes back, though the clock does', async () => {
    const file = await makeFile(rootId, 'file');
    const back = service.partition.owner;
    service.clock.advance(1000);
    const first = await set(file.id, { mode: 0o600 }, alice);
    expect(first.ctimeNs).toBe(back.nowNs());
    service.clock.wallNs = () => 17n;
    await service.reopen();
    await client.hello();
    const second = await set(file.id, { mode: 0o640 }, alice);
    expect(second.ctimeNs).toBe(first.ctimeNs);
    expect(second.change).toBeGreaterThan(first.change);
  });
});

describe('layouts and statfs', () => {
  const layout = (body: object) => ({ chunkSize: 1 << 18, stripe: 2, table: 1, ...body });
  const set = (inode: bigint, body: object, user = alice) =>
    client.call('setLayout', { inode, layout: layout(body) }, { user }).then((reply) => reply.inode!);

  test('are inherited by what is made later', async () => {
    const top = await makeDirectory(rootId, 'top');
    const before = await makeFile(top.id, 'before');
    await set(top.id, { flushEachWrite: true });
    const sub = await makeDirectory(top.id, 'sub');
    const file = await makeFile(sub.id, 'file');
    expect(file.layout).toMatchObject({
      chunkSize: 1 << 18,
      stripe: 2,
      table: 1,
      tableVersion: 3,
      flushEachWrite: true,
    });
    expect((await stat(before.id)).layout).toEqual(before.layout);
  });
  test('are checked', async () => {
    const top = await makeDirectory(rootId, 'top');
    for (const chunkSize of [1 << 15, 1 << 27, (1 << 20) + 1, 3 << 20]) {
      expect(await refused(set(top.id, { chunkSize }))).toBe('INVALID_ARGUMENT');
    }
    for (const chunkSize of [64 << 10, 64 << 20])
      expect((await set(top.id, { chunkSize })).layout!.chunkSize).toBe(chunkSize);
    expect(await refused(set(top.id, { stripe: 5000 }))).toBe('INVALID_ARGUMENT');
    expect(await refused(set(top.id, { table: 9 }))).toBe('INVALID_ARGUMENT');
    expect(await refused(set(top.id, {}, bob))).toBe('NOT_PERMITTED');
    const file = await makeFile(top.id, 'file');
    expect((await set(file.id, { chunkSize: 1 << 17 })).layout).toMatchObject({
      chunkSize: 1 << 17,
      tableVersion: 3,
    });
    await client.call('setAttributes', { inode: file.id, length: 1n });
    expect(await refused(set(file.id, {}))).toBe('INVALID_ARGUMENT');
  });
  test('statfs counts files of every type', async () => {
    await makeDirectory(rootId, 'd');
    await makeFile(rootId, 'f');
    await client.call('link', { inode: (await lookup(rootId, 'f')).id, parent: rootId, name: name('l') });
    const all = { capacityBytes: 1n << 40n, usedBytes: 5n << 30n, files: 3n };
    expect(await client.call('statFileSystem', {})).toMatchObject(all);
    await client.call('unlink', { parent: rootId, name: name('f') });
    await settle();
    await service.reopen();
    await client.hello();
    expect(await client.call('statFileSystem', {})).toMatchObject({ files: 3n });
    await client.call('unlink', { parent: rootId, name: name('l') });
    expect(await client.call('statFileSystem', {})).toMatchObject({ files: 2n });
  });
});
