import { FsError, ManualClock, silentLogger } from '@catena/core';
import { describe, expect, test } from 'vitest';
import { removalsQueuedMax, truncationsAtOnce } from '../limits.ts';
import { isSettled, O_RDWR, opened, rootId } from '../testing/owner-fixture.ts';
import { name, settle, TestClient, type TestService } from '../testing/service.ts';
import { Lanes } from './back-off.ts';

const away = () => new FsError('UNREACHABLE', 'the chain is away');

/** Makes calls on the chunks of these inodes fail, and notes all calls in their order. */
function chainsOf(service: TestService) {
  const { chunks } = service;
  const bad = new Set<bigint>();
  const calls: { inode: bigint; what: string; failed: boolean }[] = [];
  const note = (inode: bigint, what: string): void => {
    const failed = bad.has(inode);
    calls.push({ inode, what, failed });
    if (failed) throw away();
  };
  const { remove, truncate, queryLength } = chunks;
  chunks.remove = async (inode) => {
    note(inode, 'remove');
    await remove.call(chunks, inode);
  };
  chunks.truncate = async (inode, layout, length) => {
    note(inode, `truncate ${length}`);
    await truncate.call(chunks, inode, layout, length);
  };
  chunks.queryLength = async (inode, layout) => {
    note(inode, 'length');
    return queryLength.call(chunks, inode, layout);
  };
  return { bad, calls };
}

async function fileOf(service: TestService, client: TestClient, text: string) {
  const body = { parent: rootId, name: name(text), mode: 0o600, flags: O_RDWR };
  const { inode, session } = await client.call('create', body);
  service.chunks.write(inode!.id, inode!.layout!, 0n, 3 << 20);
  return { id: inode!.id, session };
}
async function closedFile(service: TestService, client: TestClient, text: string): Promise<bigint> {
  const { id, session } = await fileOf(service, client, text);
  await client.call('close', { inode: id, session, report: { length: 3n << 20n } });
  return id;
}

describe('a chain that is away holds up no file of other chains', () => {
  test('whose truncation begins later; its own go on when it is back', async () => {
    const { service, client } = await opened();
    const { bad, calls } = chainsOf(service);
    const texts = Array.from({ length: 3 * truncationsAtOnce }, (_, index) => `bad${index}`);
    for (const id of await Promise.all(texts.map((text) => closedFile(service, client, text)))) bad.add(id);
    const cuts = [...bad].map((inode) => client.call('setAttributes', { inode, length: 5n }));
    await service.pass(20_000);
    const good = await closedFile(service, client, 'good');
    const cut = client.call('setAttributes', { inode: good, length: 5n });
    await settle();
    expect((await cut).inode).toMatchObject({ length: 5n, generation: 1n });
    expect((await client.call('stat', { inode: good })).inode).toMatchObject({ length: 5n });
    for (const held of cuts) expect(await isSettled(held)).toBe(false);
    // Each is tried for ever, with pauses that grow: 8 in the first 20 s.
    for (const inode of bad) {
      const attempts = calls.filter((call) => call.inode === inode).length;
      expect(attempts).toBeGreaterThan(6);
      expect(attempts).toBeLessThan(11);
    }
    bad.clear();
    await service.pass(6_000);
    for (const { inode } of await Promise.all(cuts))
      expect(inode).toMatchObject({ length: 5n, generation: 1n });
    expect(service.partition.truncator.load).toBe(0);
  });
  test('that was removed, however many of its own were', async () => {
    const { service, client } = await opened();
    const { bad } = chainsOf(service);
    const count = removalsQueuedMax + 44;
    for (let index = 0; index < count; index += 100) {
      const texts = Array.from({ length: 100 }, (_, offset) => `bad${index + offset}`);
      for (const id of await Promise.all(texts.map((text) => closedFile(service, client, text)))) bad.add(id);
      await Promise.all(texts.map((text) => client.call('unlink', { parent: rootId, name: name(text) })));
    }
    expect(bad.size).toBe(count);
    await service.pass(1_000);
    const good = await closedFile(service, client, 'good');
    await client.call('unlink', { parent: rootId, name: name('good') });
    await service.pass(1_000);
    expect(service.chunks.inodes.includes(good)).toBe(false);
    expect(service.chunks.inodes.length).toBe(count);
    bad.clear();
    await service.pass(6_000);
    expect(service.chunks.inodes).toEqual([]);
    expect(service.partition.collector.load).toBe(0);
  });
  test('that another client had open when it died', async () => {
    const { service, client } = await opened();
    const { bad } = chainsOf(service);
    const stuck = await new TestClient(service, 'stuck').hello();
    const dead = await new TestClient(service, 'dead').hello();
    for (let index = 0; index < 20; index++) bad.add((await fileOf(service, stuck, `bad${index}`)).id);
    const { id } = await fileOf(service, dead, 'good');
    const { departures, owner } = service.partition;
    const fence = (of: TestClient): void => {
      const fenced = [of.id.toString('latin1')];
      departures.hear({ whole: false, added: [], removed: fenced, fenced });
    };
    fence(stuck);
    await service.pass(2_000);
    fence(dead);
    await settle();
    expect((await client.call('stat', { inode: id })).inode).toMatchObject({ length: 3n << 20n });
    expect(owner.clients.size).toBe(2);
    expect(owner.state.openFiles.size).toBe(20);
    bad.clear();
    await service.pass(10_000);
    expect(owner.clients.size).toBe(1);
    expect(owner.state.openFiles.size).toBe(0);
  });
});

describe('the order in which the chunks of one file are touched', () => {
  test('stays, also when each step has to be repeated', async () => {
    const { service, client } = await opened();
    const { bad, calls } = chainsOf(service);
    const id = await closedFile(service, client, 'f');
    bad.add(id);
    const cut = (length: bigint) => client.call('setAttributes', { inode: id, length });
    const steps = [cut(20n), cut(10n), client.call('unlink', { parent: rootId, name: name('f') })];
    await service.pass(500);
    for (const step of steps) expect(await isSettled(step)).toBe(false);
    // From now on each third attempt succeeds.
    bad.has = () => calls.length % 3 !== 0;
    await service.pass(10_000);
    await Promise.all(steps);
    const succeeded = calls.filter(({ failed }) => !failed).map(({ what }) => what);
    expect(succeeded).toEqual(['truncate 20', 'truncate 10', 'remove']);
    const all = calls.map(({ what }) => what);
    expect(all.filter((what, index) => what !== all[index - 1])).toEqual(succeeded);
    expect(all.length).toBeGreaterThan(2 * succeeded.length);
    expect(service.chunks.inodes).toEqual([]);
  });
  test('a cut that begins while the length of a dead writer waits for its chain counts', async () => {
    const { service, client } = await opened();
    const { bad } = chainsOf(service);
    const dying = await new TestClient(service, 'dying').hello();
    const { id } = await fileOf(service, dying, 'f');
    bad.add(id);
    const { departures, owner } = service.partition;
    const fenced = [dying.id.toString('latin1')];
    departures.hear({ whole: false, added: [], removed: fenced, fenced });
    await settle();
    const cut = client.call('setAttributes', { inode: id, length: 10n });
    await service.pass(2_000);
    expect(owner.state.openFiles.size).toBe(1);
    bad.clear();
    await service.pass(10_000);
    expect((await cut).inode).toMatchObject({ length: 10n });
    expect(owner.state.openFiles.size).toBe(0);
    expect((await client.call('stat', { inode: id })).inode).toMatchObject({ length: 10n, generation: 1n });
  });
});

describe('lanes', () => {
  /** Work that goes on until the test ends it. */
  function laned(atOnce: number) {
    const clock = new ManualClock();
    const stopping = new AbortController();
    const lanes = new Lanes(atOnce, { clock, log: silentLogger, signal: stopping.signal });
    const running = new Map<string, { succeed(): void; fail(): void }>();
    const done: string[] = [];
    const run = (text: string): void =>
      lanes.run({
        event: 'test.retry',
        inode: 1n,
        act: () =>
          new Promise<void>((resolve, reject) => {
            running.set(text, { succeed: resolve, fail: () => reject(away()) });
          }).finally(() => running.delete(text)),
        done: () => done.push(text),
      });
    const names = (): string[] => [...running.keys()].sort();
    return { clock, lanes, stopping, running, done, run, names };
  }

  test('hold so many at once, half of them of what failed before, and neither kind waits for the other', async () => {
    const { clock, lanes, running, done, run, names } = laned(4);
    for (const text of ['a', 'b', 'c', 'd', 'e', 'f']) run(text);
    expect(names()).toEqual(['a', 'b', 'c', 'd']);
    for (const text of ['a', 'b', 'c', 'd']) running.get(text)!.fail();
    await settle();
    // While they pause, the others have all lanes.
    expect(names()).toEqual(['e', 'f']);
    expect([lanes.load, lanes.failing]).toEqual([6, 4]);
    clock.advance(100);
    expect(names()).toEqual(['a', 'b', 'e', 'f']);
    running.get('e')!.succeed();
    running.get('f')!.succeed();
    await settle();
    // Two lanes are free, but not for what failed before.
    expect(names()).toEqual(['a', 'b']);
    for (const text of ['g', 'h', 'i']) run(text);
    expect(names()).toEqual(['a', 'b', 'g', 'h']);
    // A stream of new work does not keep the others out.
    for (let index = 0; index < 10; index++) run(`new ${index}`);
    running.get('a')!.succeed();
    running.get('b')!.succeed();
    await settle();
    for (const text of ['g', 'h']) running.get(text)!.succeed();
    await settle();
    expect(names()).toEqual(['c', 'd', 'i', 'new 0']);
    expect(done).toEqual(['e', 'f', 'a', 'b', 'g', 'h']);
  });
  test('begin nothing and end nothing after the stop', async () => {
    const { clock, stopping, running, done, run, names } = laned(1);
    run('a');
    run('b');
    running.get('a')!.fail();
    await settle();
    stopping.abort();
    running.get('b')!.succeed();
    await settle();
    clock.advance(60_000);
    expect([names(), done]).toEqual([[], []]);
  });
});
