import type { message } from '@catena/core';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  alice,
  bob,
  client,
  lookup,
  makeDirectory,
  makeFile,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  rootId,
  service,
  startAnew,
  stat,
} from '../testing/operation-fixture.ts';
import { name, refused, settle, TestClient } from '../testing/service.ts';

beforeEach(startAnew);

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
  test('a cut of what was written and not reported yet is one, and the late report is dropped', async () => {
    for (const { ask, length, chunks } of [
      { ask: { length: 700n }, length: 700n, chunks: 1 },
      { ask: undefined, length: 0n, chunks: 0 },
    ]) {
      const { inode, session } = await openFile(`file-${length}`, 10);
      const written = 3n << 20n;
      service.chunks.write(inode.id, inode.layout!, 0n, Number(written));
      const cut =
        ask === undefined
          ? await client.call('open', { inode: inode.id, flags: O_WRONLY | O_TRUNC, written })
          : await client.call('setAttributes', { inode: inode.id, ...ask, written });
      expect(cut.inode).toMatchObject({ length, generation: 1n });
      expect(service.chunks.chunksOf(inode.id)).toBe(chunks);
      const late = { inode: inode.id, session, report: { length: written, generation: 0n, ageNs: 0n } };
      expect((await client.call('report', late)).inode!.length).toBe(length);
    }
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
    const beyond = { inode: inode.id, length: 1n, written: 1n << 63n };
    expect(await refused(client.call('setAttributes', beyond, { user: alice }))).toBe('FILE_TOO_LARGE');
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
