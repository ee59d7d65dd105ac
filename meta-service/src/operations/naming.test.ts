import { message } from '@catena/core';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  alice,
  bob,
  client,
  lookup,
  makeDirectory,
  makeFile,
  names,
  O_EXCL,
  O_RDWR,
  O_WRONLY,
  rootId,
  service,
  startAnew,
  stat,
} from '../testing/operation-fixture.ts';
import { name, refused } from '../testing/service.ts';

const { FILE_DIRECTORY, FILE_REGULAR, FILE_FIFO, FILE_CHARACTER, FILE_SYMLINK } = message.FileType;

beforeEach(startAnew);

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
