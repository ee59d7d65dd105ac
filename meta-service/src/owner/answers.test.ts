import { describe, expect, test } from 'vitest';
import { unansweredMax } from '../limits.ts';
import { TableLayouts } from '../server/layouts.ts';
import { gated, isSettled, lookup, makeDirectory, O_RDWR, opened, rootId } from '../testing/owner-fixture.ts';
import { name, refused, settle, space, TestClient, TestService } from '../testing/service.ts';

describe('answers are held until what they saw is committed (P14)', () => {
  test('updates, reads of them, their absence, and listings', async () => {
    const { client, log } = await gated();
    const before = await makeDirectory(client, 'before');
    await makeDirectory(client, 'gone');
    log.holdAppends();
    const made = makeDirectory(client, 'new');
    const found = lookup(client, 'new');
    const missed = refused(lookup(client, 'absent'));
    const removed = client.call('removeDirectory', { parent: rootId, name: name('gone') });
    const absent = refused(lookup(client, 'gone'));
    const listed = client.call('readDirectory', { inode: rootId });
    const again = refused(makeDirectory(client, 'new'));
    // What does not touch uncommitted effects is answered at once.
    expect((await client.call('stat', { inode: before.inode!.id })).inode).toEqual(before.inode);
    for (const held of [made, found, removed, absent, listed, again])
      expect(await isSettled(held)).toBe(false);
    log.releaseAppends();
    await made;
    expect((await found).inode!.id).toBe((await made).inode!.id);
    expect(await absent).toBe('NOT_FOUND');
    expect(await again).toBe('EXISTS');
    expect(await missed).toBe('NOT_FOUND');
    expect((await listed).entries.map((entry) => entry.name.toString()).sort()).toEqual(['before', 'new']);
  });
  test('one batch is in flight while the next collects', async () => {
    const { client, log, service } = await gated();
    const first = service.logMedium.records.length;
    log.holdAppends();
    const calls = [makeDirectory(client, 'a')];
    await settle();
    for (let index = 0; index < 100; index++) calls.push(makeDirectory(client, `b${index}`));
    await settle();
    expect(log.appendsWaiting).toBe(1);
    log.releaseAppends();
    await Promise.all(calls);
    expect(service.logMedium.records.length - first).toBe(2);
  });
  test('an answer that was given survives kill -9, an answer that was held need not', async () => {
    const { service, client, log } = await gated();
    await makeDirectory(client, 'kept');
    log.holdAppends();
    const lost = makeDirectory(client, 'lost');
    expect(await isSettled(lost)).toBe(false);
    await service.reopen();
    await client.hello();
    expect((await lookup(client, 'kept')).inode).toBeDefined();
    expect(await refused(lookup(client, 'lost'))).toBe('NOT_FOUND');
  });
  test('a log that fails ends the service; nobody is answered', async () => {
    const { service, client } = await opened();
    service.partition.log.append = () => Promise.reject(new Error('the medium is gone'));
    const call = makeDirectory(client, 'x');
    expect(await isSettled(call)).toBe(false);
    expect(service.failures.length).toBe(1);
    expect(await isSettled(lookup(client, 'x'))).toBe(false);
  });
});

describe('durability (P11)', () => {
  test('a durable report and a sync wait for the flush, others do not', async () => {
    const { client, log, service } = await gated();
    const file = await client.call('create', { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR });
    log.holdFlushes();
    const { id } = file.inode!;
    const report = (durable: boolean, length: bigint) =>
      client.call('report', {
        inode: id,
        session: file.session,
        durable,
        report: { length, generation: 0n },
      });
    await report(false, 10n);
    const durable = report(true, 20n);
    const nothingNew = client.call('report', { inode: id, session: file.session, durable: true });
    const synced = new Promise<unknown>((resolve, reject) => {
      const header = {
        requestId: 1n,
        deadlineMs: 0,
        client: client.id.toString('latin1'),
        sequence: 0n,
        answeredUpTo: 0n,
        caller: undefined,
      };
      service.partition.owner.sync(header, { done: resolve, failed: reject });
    });
    for (const held of [durable, nothingNew, synced]) expect(await isSettled(held)).toBe(false);
    log.releaseFlushes();
    expect((await durable).inode!.length).toBe(20n);
    await Promise.all([nothingNew, synced]);
    expect(log.flushed).toBe(log.appended);
    service.logMedium.losePower();
    service.storeMedium.losePower();
    await service.reopen();
    await client.hello();
    expect((await client.call('stat', { inode: id })).inode!.length).toBe(20n);
  });
  test('chunks of a removed file go only after the record is on the medium (P13)', async () => {
    const { client, service } = await opened();
    const { inode, session } = await client.call('create', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      flags: O_RDWR,
    });
    service.chunks.write(inode!.id, inode!.layout!, 0n, 5000);
    await client.call('close', { inode: inode!.id, session, report: { length: 5000n } });
    const { storeMedium, chunks } = service;
    const removed: boolean[] = [];
    const inner = chunks.remove.bind(chunks);
    chunks.remove = (id) => {
      // The store commits to the medium; the record is there, or in the flushed part of the log.
      removed.push([...storeMedium.committed.keys()].some((key) => key.startsWith('R')));
      return inner(id);
    };
    await client.call('unlink', { parent: rootId, name: name('f') });
    await settle();
    expect(removed).toEqual([]);
    await service.pass(200);
    expect(removed).toEqual([true]);
    expect(chunks.inodes).toEqual([]);
    await service.pass(200);
    expect([...storeMedium.committed.keys()].some((key) => key.startsWith('R'))).toBe(false);
  });
});

describe('requests are executed once (P17)', () => {
  test('a retry gets the first answer, before and after a restart', async () => {
    const { service, client } = await opened();
    const sequence = client.nextSequence();
    const body = { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR | 0o200 };
    const first = await client.call('create', body, { sequence, answeredUpTo: 0n });
    const second = await client.call('create', body, { sequence, answeredUpTo: 0n });
    expect(second).toEqual(first);
    await service.reopen();
    await client.hello();
    expect(await client.call('create', body, { sequence, answeredUpTo: 0n })).toEqual(first);
    expect(service.partition.owner.state.openFiles.size).toBe(1);
  });
  test('a refusal is remembered, too: a late copy does nothing', async () => {
    const { client, service } = await opened();
    const other = await new TestClient(service, 'other').hello();
    const sequence = client.nextSequence();
    const remove = () =>
      client.call('removeDirectory', { parent: rootId, name: name('d') }, { sequence, answeredUpTo: 0n });
    expect(await refused(remove())).toBe('NOT_FOUND');
    await makeDirectory(other, 'd');
    expect(await refused(remove())).toBe('NOT_FOUND');
    expect((await lookup(client, 'd')).inode).toBeDefined();
  });
  test('what may succeed later is executed when it comes again', async () => {
    const tables = new TableLayouts({ chunkSizeBytes: 1 << 20, stripe: 16 });
    const service = await new TestService({ environment: { layouts: tables, space: () => space } }).open();
    const client = await new TestClient(service).hello();
    const sequence = client.nextSequence();
    const body = { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR };
    const create = () => client.call('create', body, { sequence, answeredUpTo: 0n });
    expect(await refused(create())).toBe('OVERLOADED');
    tables.use([{ id: 1, version: 1, chains: [1], lengths: [] }]);
    expect((await create()).created).toBe(true);
  });
  test('a read open is repeated without a second session', async () => {
    const { client, service } = await opened();
    const { inode } = await client.call('makeNode', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      type: 0,
    });
    const sequence = client.nextSequence();
    const open = () => client.call('open', { inode: inode!.id, flags: 0 }, { sequence, answeredUpTo: 0n });
    const first = await open();
    expect((await open()).session).toBe(first.session);
    expect(service.partition.owner.state.openFiles.size).toBe(1);
  });
  const truncate = 0o1000;
  const readOpens = [
    { what: 'that made the file', length: undefined, flags: 0o100 },
    { what: 'that cut the file', length: 3n << 20n, flags: truncate },
    { what: 'that cut an empty file', length: 0n, flags: truncate },
  ];
  for (const { what, length, flags } of readOpens) {
    test(`a read open ${what} is repeated after a restart with a session that lives until its close`, async () => {
      const { service, client } = await opened();
      const file = { parent: rootId, name: name('f') };
      let id = 0n;
      if (length !== undefined) {
        const made = await client.call('create', { ...file, mode: 0o600, flags: O_RDWR });
        id = made.inode!.id;
        await client.call('close', { inode: id, session: made.session, report: { length } });
      }
      const sequence = client.nextSequence();
      const sending = { sequence, answeredUpTo: sequence - 1n };
      const open = () =>
        length === undefined
          ? client.call('create', { ...file, mode: 0o600, flags }, sending)
          : client.call('open', { inode: id, flags }, sending);
      // This answer is lost on its way.
      const first = await open();
      await service.reopen();
      await client.hello();
      const again = await open();
      expect(again).toEqual(first);
      const { session, inode } = again;
      await client.call('unlink', file);
      await service.pass(20_000);
      expect((await client.call('stat', { inode: inode!.id })).inode).toMatchObject({ nlink: 0 });
      await client.call('close', { inode: inode!.id, session });
      expect(await refused(client.call('stat', { inode: inode!.id }))).toBe('STALE_HANDLE');
      await service.reopen();
      expect(service.partition.owner.state.openFiles.size).toBe(0);
    });
  }
  test('a read open whose answer did arrive is reported again after a restart, and replaces the first', async () => {
    const { service, client } = await opened();
    const body = { parent: rootId, name: name('f'), mode: 0o600, flags: 0o100 };
    const { inode, session } = await client.call('create', body);
    await service.reopen();
    await client.hello();
    const reported = await client.call('open', { inode: inode!.id, flags: 0 });
    await client.call('close', { inode: inode!.id, session });
    const { openFiles } = service.partition.owner.state;
    expect([...openFiles.ofInode(inode!.id)].map(({ id }) => id)).toEqual([reported.session]);
  });
  test('who only read is not asked about when it is gone, though its session is a record', async () => {
    const { service, client } = await opened();
    await client.call('create', { parent: rootId, name: name('f'), mode: 0o600, flags: 0o100 });
    service.chunks.unreachable = true;
    await service.reopen();
    const { departures, owner } = service.partition;
    expect(owner.state.openFiles.size).toBe(1);
    const fenced = [client.id.toString('latin1')];
    departures.hear({ whole: false, added: [], removed: fenced, fenced });
    await settle();
    expect([owner.state.openFiles.size, owner.clients.size]).toEqual([0, 0]);
  });
  test('what was confirmed is forgotten and never executed again', async () => {
    const { client } = await opened();
    const sequence = client.nextSequence();
    await client.call('makeDirectory', { parent: rootId, name: name('d'), mode: 0o755 }, { sequence });
    await client.call('removeDirectory', { parent: rootId, name: name('d') }, { answeredUpTo: sequence });
    const late = client.call('makeDirectory', { parent: rootId, name: name('d'), mode: 0o755 }, { sequence });
    expect(await refused(late)).toBe('STALE_SEQUENCE');
    expect(await refused(lookup(client, 'd'))).toBe('NOT_FOUND');
  });
  test('at most so many unanswered', async () => {
    const { client, service } = await opened();
    const make = (sequence: bigint) =>
      client.call(
        'makeDirectory',
        { parent: rootId, name: name(`d${sequence}`), mode: 0o755 },
        { sequence, answeredUpTo: 0n },
      );
    for (let sequence = 1; sequence <= unansweredMax; sequence++) await make(BigInt(sequence));
    expect(await refused(make(BigInt(unansweredMax) + 1n))).toBe('OVERLOADED');
    // Each of them is still answered as at first.
    const first = await make(1n);
    await service.reopen();
    await client.hello();
    expect(await make(1n)).toEqual(first);
    expect((await make(BigInt(unansweredMax))).inode!.id).toBe(
      (await lookup(client, `d${unansweredMax}`)).inode!.id,
    );
  });
  test('an unknown session is told so, and nothing is executed', async () => {
    const { service, client } = await opened();
    const stranger = new TestClient(service, 'stranger');
    expect(await refused(makeDirectory(stranger, 'x'))).toBe('SESSION_UNKNOWN');
    expect(await refused(lookup(stranger, 'x'))).toBe('SESSION_UNKNOWN');
    expect(await refused(lookup(client, 'x'))).toBe('NOT_FOUND');
  });
  test('an update needs a number; one number is one request', async () => {
    const { client } = await opened();
    const make = (sequence: bigint) =>
      client.call(
        'makeDirectory',
        { parent: rootId, name: name('d'), mode: 0o755 },
        { sequence, answeredUpTo: 0n },
      );
    expect(await refused(make(0n))).toBe('INVALID_ARGUMENT');
    await make(5n);
    const other = client.call(
      'unlink',
      { parent: rootId, name: name('d') },
      { sequence: 5n, answeredUpTo: 0n },
    );
    expect(await refused(other)).toBe('INVALID_ARGUMENT');
  });
  test('hello tells where to go on, and is known again after a restart', async () => {
    const { service, client } = await opened();
    await client.call(
      'makeDirectory',
      { parent: rootId, name: name('d'), mode: 0o755 },
      { sequence: 41n, answeredUpTo: 40n },
    );
    await service.reopen();
    const header = {
      requestId: 1n,
      deadlineMs: 0,
      priority: 0,
      user: undefined,
      capability: Buffer.alloc(0),
      client: client.id,
      sequence: 0n,
      answeredUpTo: 0n,
    };
    const greeting = await new Promise((resolve) =>
      service.partition.greet({ header, host: 'h', featureLevel: 1 }, resolve),
    );
    expect(greeting).toMatchObject({ nextSequence: 42n, root: 1n });
  });
  test('numbers far beyond what is stored are taken after a restart', async () => {
    const { service, client } = await opened();
    await makeDirectory(client, 'd');
    for (let index = 0; index < 400; index++) {
      expect(await refused(makeDirectory(client, 'd'))).toBe('EXISTS');
    }
    await service.reopen();
    await client.hello();
    expect((await makeDirectory(client, 'e')).inode).toBeDefined();
  });
});
