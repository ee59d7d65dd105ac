import { message, openMemoryLog } from '@catena/core';
import { describe, expect, test } from 'vitest';
import { batchChangesMax, overlayRecordsMax, unansweredMax } from '../limits.ts';
import { TableLayouts } from '../server/layouts.ts';
import { GatedLog } from '../testing/gated-log.ts';
import { name, refused, settle, space, TestClient, TestService } from '../testing/service.ts';

const rootId = 1n;
const O_RDWR = 2;

interface Gated {
  service: TestService;
  client: TestClient;
  log: GatedLog;
}
async function gated(): Promise<Gated> {
  let log: GatedLog | undefined;
  const service = new TestService({
    openLog: (floor) => {
      log = new GatedLog(openMemoryLog(service.logMedium, floor));
      return log;
    },
  });
  await service.open();
  return { service, client: await new TestClient(service).hello(), log: log! };
}
async function opened(): Promise<{ service: TestService; client: TestClient }> {
  const service = await new TestService().open();
  return { service, client: await new TestClient(service).hello() };
}

/** Whether the promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await settle();
  return settled;
}
const makeDirectory = (client: TestClient, text: string) =>
  client.call('makeDirectory', { parent: rootId, name: name(text), mode: 0o755 });
const lookup = (client: TestClient, text: string) =>
  client.call('lookup', { parent: rootId, name: name(text) });

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
    tables.use([{ id: 1, version: 1, chains: [1] }]);
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

describe('truncations (P19)', () => {
  async function bigFile(service: TestService, client: TestClient) {
    const { inode, session } = await client.call('create', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      flags: O_RDWR,
    });
    service.chunks.write(inode!.id, inode!.layout!, 0n, 3 << 20);
    await client.call('report', { inode: inode!.id, session, report: { length: 3n << 20n } });
    return { id: inode!.id, layout: inode!.layout!, session };
  }
  const cut = (client: TestClient, inode: bigint, length: bigint, sending = {}) =>
    client.call('setAttributes', { inode, length }, sending);

  test('whoever comes in between waits; others go on', async () => {
    const { service, client } = await opened();
    const { id } = await bigFile(service, client);
    let open = (): void => {};
    service.chunks.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const truncated = cut(client, id, 100n);
    const grown = cut(client, id, 200n);
    const stat = client.call('stat', { inode: id });
    const unlinked = client.call('unlink', { parent: rootId, name: name('f') });
    await makeDirectory(client, 'meanwhile');
    const listed = await client.call('readDirectory', { inode: rootId, plus: true });
    expect(listed.entries.length).toBe(2);
    for (const held of [truncated, grown, stat, unlinked]) expect(await isSettled(held)).toBe(false);
    open();
    expect((await truncated).inode).toMatchObject({ length: 100n, generation: 1n });
    expect((await grown).inode).toMatchObject({ length: 200n, generation: 1n });
    expect((await stat).inode).toMatchObject({ length: 200n });
    await unlinked;
  });
  test('the chunks are touched only when the intent is on the medium', async () => {
    const { service, client, log } = await gated();
    const { id, layout } = await bigFile(service, client);
    log.holdFlushes();
    const truncated = cut(client, id, 0n);
    expect(await isSettled(truncated)).toBe(false);
    expect(await service.chunks.queryLength(id, layout)).toBe(3n << 20n);
    log.releaseFlushes();
    await truncated;
    expect(await service.chunks.queryLength(id, layout)).toBe(0n);
  });
  test('is finished after a restart, before the file is served; the retry gets its answer', async () => {
    const { service, client } = await opened();
    const { id, layout } = await bigFile(service, client);
    service.chunks.unreachable = true;
    const sequence = client.nextSequence();
    const lost = cut(client, id, 10n, { sequence, answeredUpTo: sequence - 1n });
    expect(await isSettled(lost)).toBe(false);
    await service.reopen();
    await client.hello();
    const stat = client.call('stat', { inode: id });
    const retry = cut(client, id, 10n, { sequence, answeredUpTo: sequence - 1n });
    expect(await isSettled(stat)).toBe(false);
    expect(await isSettled(retry)).toBe(false);
    service.chunks.unreachable = false;
    await service.pass(10_000);
    expect((await stat).inode).toMatchObject({ length: 10n, generation: 1n });
    expect((await retry).inode).toMatchObject({ length: 10n, generation: 1n });
    expect(await service.chunks.queryLength(id, layout)).toBe(10n);
    // And it is done: another restart finds nothing left to do.
    await service.pass(200);
    await service.reopen();
    expect(service.partition.owner.state.truncating.size).toBe(0);
  });
  test('copies that come while it is under way get the same answer', async () => {
    const { service, client } = await opened();
    const { id } = await bigFile(service, client);
    service.chunks.unreachable = true;
    const sequence = client.nextSequence();
    const calls = [1, 2, 3].map(() => cut(client, id, 10n, { sequence, answeredUpTo: sequence - 1n }));
    const parkedSequence = client.nextSequence();
    const parked = [1, 2].map(() =>
      cut(client, id, 5n, { sequence: parkedSequence, answeredUpTo: sequence - 1n }),
    );
    for (const call of [...calls, ...parked]) expect(await isSettled(call)).toBe(false);
    service.chunks.unreachable = false;
    await service.pass(10_000);
    const answers = await Promise.all(calls);
    expect(answers.map(({ inode }) => inode!.generation)).toEqual([1n, 1n, 1n]);
    expect((await Promise.all(parked)).map(({ inode }) => inode!.generation)).toEqual([2n, 2n]);
  });
});

describe('clients that are gone', () => {
  test('lose their sessions when their lease ran out; their files get the length of the chunks', async () => {
    const { service, client } = await opened();
    const dying = await new TestClient(service, 'dying').hello();
    const { inode } = await dying.call('create', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      flags: O_RDWR,
    });
    const held = await dying.call('create', {
      parent: rootId,
      name: name('nameless'),
      mode: 0o600,
      flags: O_RDWR,
    });
    service.chunks.write(inode!.id, inode!.layout!, 0n, 12345);
    service.chunks.write(held.inode!.id, held.inode!.layout!, 0n, 777);
    await client.call('unlink', { parent: rootId, name: name('nameless') });
    for (let second = 0; second < 35; second++) {
      await lookup(client, 'f');
      await service.pass(1_000);
    }
    expect((await lookup(client, 'f')).inode!.length).toBe(12345n);
    expect(service.partition.owner.clients.size).toBe(1);
    expect(service.partition.owner.state.openFiles.size).toBe(0);
    expect(service.chunks.inodes).toEqual([inode!.id]);
    expect(await refused(makeDirectory(dying, 'x'))).toBe('SESSION_UNKNOWN');
    const left = [...service.storeMedium.committed.keys()].filter(
      (key) => key.startsWith('A') || key.startsWith('C'),
    );
    expect(left.every((key) => key.slice(1, 7) === 'client')).toBe(true);
  });
  test('are those that the manager has fenced, at once; those it knows never expire', async () => {
    const { service, client } = await opened();
    const idle = await new TestClient(service, 'idle').hello();
    await idle.call('create', { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR });
    const id = idle.id.toString('latin1');
    service.partition.departures.live([id], [], true);
    for (let second = 0; second < 60; second++) {
      await lookup(client, 'f');
      await service.pass(1_000);
    }
    expect(service.partition.owner.state.openFiles.size).toBe(1);
    service.partition.departures.live([], [id], false);
    await settle();
    expect(service.partition.owner.state.openFiles.size).toBe(0);
    expect(await refused(lookup(idle, 'f'))).toBe('SESSION_UNKNOWN');
  });
});

describe('limits', () => {
  const makeNode = (client: TestClient, text: string) =>
    client.call('makeNode', { parent: rootId, name: name(text), mode: 0o600, type: 0 });

  test('requests wait while the store is behind, then go on in their order', async () => {
    const service = await new TestService().open();
    const clients = await Promise.all(
      Array.from({ length: 100 }, (_, index) => new TestClient(service, `c${index}`).hello()),
    );
    await service.pass(100);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    service.beforeStoreWrite = () => gate;
    let answered = 0;
    const calls: Promise<unknown>[] = [];
    // Each makes two new records, and each client's kept answers fill 256 slots: beyond the limit of the overlay.
    for (let round = 0; round < 300; round++) {
      const batch = clients.map((client, index) => makeNode(client, `${round}-${index}`));
      for (const call of batch) void call.then(() => answered++);
      calls.push(...batch);
      if (round % 100 === 99) await service.pass(50);
      else await settle(3);
    }
    const { owner } = service.partition;
    expect(owner.waitingCount).toBeGreaterThan(0);
    expect(answered).toBe(calls.length - owner.waitingCount);
    expect(owner.state.overlay.size).toBeLessThan(overlayRecordsMax + 100);
    service.beforeStoreWrite = undefined;
    release();
    await service.pass(500);
    await Promise.all(calls);
    expect(owner.state.overlay.size).toBe(0);
    expect(owner.waitingCount).toBe(0);
    expect((await lookup(clients[0]!, '299-99')).inode).toBeDefined();
  });
  test('one turn makes no record without bounds', async () => {
    const service = await new TestService().open();
    const clients = await Promise.all(
      Array.from({ length: 20 }, (_, index) => new TestClient(service, `c${index}`).hello()),
    );
    const before = service.logMedium.records.length;
    const calls = clients.flatMap((client) =>
      Array.from({ length: 200 }, (_, index) => makeNode(client, `${client.id.toString('hex')}-${index}`)),
    );
    await Promise.all(calls);
    const sizes = service.logMedium.records
      .slice(before)
      .map((record) => message.LogRecord.decode(record.body).changes.length);
    expect(sizes.length).toBeGreaterThan(1);
    expect(Math.max(...sizes)).toBeLessThan(batchChangesMax + 100);
  });
});

test('nobody expires while the manager cannot be asked, and then everybody has a whole lease again', async () => {
  let reachable = false;
  const service = await new TestService({ mayExpire: () => reachable }).open();
  const client = await new TestClient(service).hello();
  await service.pass(100_000);
  reachable = true;
  await service.pass(20_000);
  expect(service.partition.owner.clients.size).toBe(1);
  await service.pass(15_000);
  expect(service.partition.owner.clients.size).toBe(0);
  expect(await refused(lookup(client, 'x'))).toBe('SESSION_UNKNOWN');
});

describe('a restart', () => {
  test('keeps open files of writers; a file without a name goes when nobody opened it again in time', async () => {
    const { service, client } = await opened();
    const writer = await client.call('create', {
      parent: rootId,
      name: name('w'),
      mode: 0o600,
      flags: O_RDWR,
    });
    const made = await client.call('create', { parent: rootId, name: name('r'), mode: 0o600, flags: O_RDWR });
    service.chunks.write(made.inode!.id, made.inode!.layout!, 0n, 10);
    await client.call('report', { inode: made.inode!.id, session: made.session, report: { length: 10n } });
    const reader = await client.call('open', { inode: made.inode!.id, flags: 0 });
    const again = await client.call('open', { inode: made.inode!.id, flags: 0 });
    await client.call('close', { inode: made.inode!.id, session: made.session });
    for (const text of ['w', 'r']) await client.call('unlink', { parent: rootId, name: name(text) });
    expect(reader.session).not.toBe(again.session);
    await service.pass(100);

    await service.reopen();
    await client.hello();
    await service.pass(14_000);
    expect((await client.call('stat', { inode: made.inode!.id })).inode!.nlink).toBe(0);
    expect((await client.call('stat', { inode: writer.inode!.id })).inode!.nlink).toBe(0);
    const reopened = await client.call('open', { inode: made.inode!.id, flags: 0 });
    await service.pass(2_000);
    expect((await client.call('stat', { inode: made.inode!.id })).inode!.nlink).toBe(0);
    await client.call('close', { inode: made.inode!.id, session: reopened.session });
    expect(await refused(client.call('stat', { inode: made.inode!.id }))).toBe('STALE_HANDLE');
    await client.call('close', { inode: writer.inode!.id, session: writer.session });
    expect(await refused(client.call('stat', { inode: writer.inode!.id }))).toBe('STALE_HANDLE');
    await service.pass(200);
    expect(service.chunks.inodes).toEqual([]);
  });
  test('collects a nameless file that nobody opens again', async () => {
    const { service, client } = await opened();
    const made = await client.call('makeNode', { parent: rootId, name: name('r'), mode: 0o600, type: 0 });
    await client.call('open', { inode: made.inode!.id, flags: 0 });
    await client.call('unlink', { parent: rootId, name: name('r') });
    await settle();
    await service.reopen();
    await client.hello();
    await service.pass(16_000);
    expect(await refused(client.call('stat', { inode: made.inode!.id }))).toBe('STALE_HANDLE');
  });
  test('never gives an inode id twice, whatever was lost', async () => {
    const { service, client } = await opened();
    const ids = new Set<bigint>();
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 20; index++) {
        const { inode } = await makeDirectory(client, `d${round}-${index}`);
        expect(ids.has(inode!.id & 0xffff_ffff_ffffn)).toBe(false);
        ids.add(inode!.id & 0xffff_ffff_ffffn);
      }
      service.logMedium.losePower();
      service.storeMedium.losePower();
      await service.reopen();
      await client.hello();
    }
  });
  test('session numbers differ from those of before', async () => {
    const { service, client } = await opened();
    const { inode } = await client.call('makeNode', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      type: 0,
    });
    const before = await client.call('open', { inode: inode!.id, flags: 0 });
    await service.reopen();
    await client.hello();
    const after = await client.call('open', { inode: inode!.id, flags: 0 });
    expect(after.session).not.toBe(before.session);
    await client.call('close', { inode: inode!.id, session: before.session });
    expect(service.partition.owner.state.openFiles.size).toBe(1);
  });
  test('goes on with removals that were not done', async () => {
    const { service, client } = await opened();
    for (let index = 0; index < 300; index++) {
      const made = await client.call('create', {
        parent: rootId,
        name: name(`f${index}`),
        mode: 0o600,
        flags: O_RDWR,
      });
      service.chunks.write(made.inode!.id, made.inode!.layout!, 0n, 10);
      await client.call('close', { inode: made.inode!.id, session: made.session, report: { length: 10n } });
    }
    service.chunks.unreachable = true;
    for (let index = 0; index < 300; index++)
      await client.call('unlink', { parent: rootId, name: name(`f${index}`) });
    await service.pass(300);
    expect(service.chunks.inodes.length).toBe(300);
    await service.reopen();
    await service.pass(300);
    expect(service.chunks.inodes.length).toBe(300);
    service.chunks.unreachable = false;
    await service.pass(12_000);
    expect(service.chunks.inodes).toEqual([]);
    await service.pass(200);
    expect([...service.storeMedium.committed.keys()].filter((key) => key.startsWith('R'))).toEqual([]);
  });
  test('refuses data of another cluster', async () => {
    const service = await new TestService({ cluster: 'one' }).open();
    await service.close();
    const other = new TestService({ cluster: 'two' });
    Object.assign(other, { storeMedium: service.storeMedium, logMedium: service.logMedium });
    await expect(other.open()).rejects.toMatchObject({ code: 'WRONG_CLUSTER' });
  });
});
