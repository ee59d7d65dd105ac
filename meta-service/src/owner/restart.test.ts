import { ManualClock, message } from '@catena/core';
import { describe, expect, test } from 'vitest';
import { batchChangesMax, overlayRecordsMax, unansweredMax } from '../limits.ts';
import { gated, isSettled, lookup, makeDirectory, O_RDWR, opened, rootId } from '../testing/owner-fixture.ts';
import { name, refused, settle, TestClient, TestService } from '../testing/service.ts';

const noNews = { whole: false, added: [], removed: [], fenced: [] };

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
  test('one that waits and was given up is refused, and takes no slot from a later request', async () => {
    const { service, client } = await opened();
    const { id } = await bigFile(service, client);
    let open = (): void => {};
    service.chunks.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const sequence = client.nextSequence();
    const truncated = cut(client, id, 100n, { sequence, answeredUpTo: sequence - 1n });
    const given = sequence + 1n;
    const parked = refused(cut(client, id, 5n, { sequence: given, answeredUpTo: sequence - 1n }));
    // The window of numbers moves past it, to the number that shares its slot.
    const later = { sequence: given + BigInt(unansweredMax), answeredUpTo: given };
    const make = () => client.call('makeDirectory', { parent: rootId, name: name('d'), mode: 0o755 }, later);
    const made = await make();
    open();
    await truncated;
    expect(await parked).toBe('STALE_SEQUENCE');
    expect((await client.call('stat', { inode: id })).inode).toMatchObject({ length: 100n, generation: 1n });
    expect(await make()).toEqual(made);
    await service.reopen();
    await client.hello();
    expect(await make()).toEqual(made);
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
  test('while their file is cut: the length of before does not come back', async () => {
    for (const nameless of [false, true]) {
      const { service, client } = await opened();
      const dying = await new TestClient(service, 'dying').hello();
      const { inode, session } = await dying.call('create', {
        parent: rootId,
        name: name('f'),
        mode: 0o600,
        flags: O_RDWR,
      });
      const { id, layout } = inode!;
      service.chunks.write(id, layout!, 0n, 3 << 20);
      await dying.call('report', { inode: id, session, report: { length: 3n << 20n } });
      if (nameless) await client.call('unlink', { parent: rootId, name: name('f') });
      // Only the truncation waits; whoever asks for the length is told at once.
      const truncate = service.chunks.truncate.bind(service.chunks);
      let open = (): void => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      service.chunks.truncate = async (...cut) => {
        await gate;
        await truncate(...cut);
      };
      const truncated = client.call('setAttributes', { inode: id, length: 10n });
      await settle();
      const { departures, owner } = service.partition;
      const dyingId = dying.id.toString('latin1');
      departures.hear({ ...noNews, added: [dyingId] });
      departures.hear({ ...noNews, removed: [dyingId], fenced: [dyingId] });
      await settle();
      expect(owner.state.openFiles.size).toBe(1);
      open();
      expect((await truncated).inode).toMatchObject({ length: 10n });
      await settle();
      expect(owner.state.openFiles.size).toBe(0);
      expect(owner.clients.size).toBe(1);
      const after = client.call('stat', { inode: id });
      if (nameless) expect(await refused(after)).toBe('STALE_HANDLE');
      else expect((await after).inode).toMatchObject({ length: 10n, generation: 1n });
    }
  });
  test('while their length is asked for: a cut that begins meanwhile counts', async () => {
    const { service, client } = await opened();
    const dying = await new TestClient(service, 'dying').hello();
    const { inode } = await dying.call('create', {
      parent: rootId,
      name: name('f'),
      mode: 0o600,
      flags: O_RDWR,
    });
    const { id, layout } = inode!;
    service.chunks.write(id, layout!, 0n, 3 << 20);
    const query = service.chunks.queryLength.bind(service.chunks);
    const truncate = service.chunks.truncate.bind(service.chunks);
    let answer = (): void => {};
    const queried = new Promise<void>((resolve) => {
      answer = resolve;
    });
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    service.chunks.queryLength = async (...file) => {
      const length = await query(...file);
      await queried;
      return length;
    };
    service.chunks.truncate = async (...cut) => {
      await gate;
      await truncate(...cut);
    };
    const dyingId = dying.id.toString('latin1');
    const { departures, owner } = service.partition;
    departures.hear({ ...noNews, removed: [dyingId], fenced: [dyingId] });
    await settle();
    const truncated = client.call('setAttributes', { inode: id, length: 10n });
    await settle();
    answer();
    await settle();
    expect(owner.state.openFiles.size).toBe(1);
    open();
    await truncated;
    await settle();
    expect(owner.state.openFiles.size).toBe(0);
    expect((await client.call('stat', { inode: id })).inode).toMatchObject({ length: 10n, generation: 1n });
  });
  test('are those whose fence holds; until then they only change nothing, and nobody gets their id', async () => {
    const service = await new TestService({ managed: true }).open();
    const text = (client: TestClient): string => client.id.toString('latin1');
    const { departures, owner } = service.partition;
    const [client, fenced] = [new TestClient(service, 'client'), new TestClient(service, 'fenced')];
    // Nobody has told yet who lives.
    expect(await refused(client.hello())).toBe('SESSION_UNKNOWN');
    departures.hear({ ...noNews, whole: true, added: [client, fenced].map(text) });
    await client.hello();
    await fenced.hello();
    await fenced.call('create', { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR });
    await service.pass(100_000);
    expect(owner.state.openFiles.size).toBe(1);
    departures.hear({ ...noNews, removed: [text(fenced)] });
    await service.pass(100_000);
    expect(owner.state.openFiles.size).toBe(1);
    expect(await refused(lookup(fenced, 'f'))).toBe('SESSION_UNKNOWN');
    expect(await refused(fenced.hello())).toBe('FENCED');
    departures.hear({ ...noNews, fenced: [text(fenced)] });
    await settle();
    expect([owner.state.openFiles.size, owner.clients.size]).toEqual([0, 1]);
    expect(await refused(fenced.hello())).toBe('SESSION_UNKNOWN');
    expect((await lookup(client, 'f')).inode?.nlink).toBe(1);
  });
  test('are found by the difference of two lists, also over a restart; who is in neither list is gone', async () => {
    const service = await new TestService({ managed: true }).open();
    const clients = ['lives', 'fencing', 'gone'].map((host) => new TestClient(service, host));
    const ids = clients.map((client) => client.id.toString('latin1'));
    service.partition.departures.hear({ ...noNews, whole: true, added: ids });
    for (const [index, client] of clients.entries()) {
      await client.hello();
      await client.call('create', { parent: rootId, name: name(`f${index}`), mode: 0o600, flags: O_RDWR });
    }
    await service.reopen();
    // What it knows from before goes on while no manager has spoken.
    for (const client of clients) await client.hello();
    const list = { ...noNews, whole: true, added: ids.slice(0, 1), removed: ids.slice(1, 2) };
    service.partition.departures.hear(list);
    await settle();
    const { owner } = service.partition;
    expect([...owner.clients.keys()].sort()).toEqual(ids.slice(0, 2).sort());
    expect(owner.state.openFiles.size).toBe(2);
    service.partition.departures.hear({ ...list, removed: [] });
    await settle();
    expect([...owner.clients.keys()]).toEqual(ids.slice(0, 1));
    await clients[0]!.hello();
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
    // Each makes two new records, and each client's kept answers fill 256 slots: beyond the limit of the
    // overlay.
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
  test('collects a nameless file, too, that is being truncated when the time is over', async () => {
    const { service, client } = await opened();
    const file = { parent: rootId, name: name('r') };
    const { inode, session } = await client.call('create', { ...file, mode: 0o600, flags: O_RDWR });
    const { id, layout } = inode!;
    service.chunks.write(id, layout!, 0n, 3 << 20);
    await client.call('close', { inode: id, session, report: { length: 3n << 20n } });
    await client.call('open', { inode: id, flags: 0 });
    await client.call('unlink', file);
    service.chunks.unreachable = true;
    void client.call('setAttributes', { inode: id, length: 1n << 20n });
    await settle();
    await service.reopen();
    await service.pass(16_000);
    service.chunks.unreachable = false;
    await service.pass(6_000);
    expect(service.chunks.inodes).toEqual([]);
    expect([...service.storeMedium.committed.keys()].filter((key) => /^[IO]/.test(key)).length).toBe(1);
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
  test('has a higher incarnation, also on the same clock or an earlier one, and after the loss of power', async () => {
    let wallNs = 5_000_000_000n;
    const clock = new ManualClock();
    clock.wallNs = () => wallNs;
    const service = await new TestService({ clock }).open();
    const incarnations = [service.partition.incarnation];
    expect(incarnations).toEqual([5_000n]);
    for (const now of [5_000_000_000n, 1_000_000_000n, 1_000_000_000n, 90_000_000_000n]) {
      wallNs = now;
      service.logMedium.losePower();
      service.storeMedium.losePower();
      await service.reopen();
      incarnations.push(service.partition.incarnation);
    }
    expect(incarnations).toEqual([5_000n, 5_001n, 5_002n, 5_003n, 90_000n]);
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
