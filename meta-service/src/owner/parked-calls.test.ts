import { expect, test } from 'vitest';
import { parkedRequestsMax } from '../limits.ts';
import { isSettled, O_RDWR, opened, rootId } from '../testing/owner-fixture.ts';
import { name, refused, settle } from '../testing/service.ts';

/** A service with a file whose truncations last until `finish` is called, each once. */
async function cutting() {
  const { service, client } = await opened();
  const body = { parent: rootId, name: name('f'), mode: 0o600, flags: O_RDWR };
  const { inode, session } = await client.call('create', body);
  const { id } = inode!;
  await client.call('close', { inode: id, session, report: { length: 3n << 20n } });
  const ends: (() => void)[] = [];
  service.chunks.truncate = () => new Promise<void>((resolve) => ends.push(resolve));
  const cut = (length: bigint) => client.call('setAttributes', { inode: id, length });
  const finish = async (): Promise<void> => {
    ends.shift()!();
    await settle();
  };
  return { service, client, owner: service.partition.owner, id, cut, finish };
}

test('a read waits for a truncation as long as its caller does, an update until the end', async () => {
  const { service, client, owner, id, cut, finish } = await cutting();
  const first = cut(10n);
  const short = client.call('stat', { inode: id }, { deadlineMs: 3_000 });
  const long = client.call('stat', { inode: id }, { deadlineMs: 60_000 });
  const endless = client.call('stat', { inode: id });
  const update = client.call('setAttributes', { inode: id, mode: 0o640 }, { deadlineMs: 3_000 });
  await service.pass(2_500);
  expect(await isSettled(short)).toBe(false);
  await service.pass(2_000);
  expect(await isSettled(short)).toBe(true);
  expect(await refused(short)).toBe('TIMED_OUT');
  for (const held of [long, endless, update]) expect(await isSettled(held)).toBe(false);
  expect(owner.parkedCount).toBe(3);
  await finish();
  expect((await first).inode).toMatchObject({ length: 10n });
  expect((await update).inode).toMatchObject({ mode: 0o640 });
  for (const read of [long, endless]) expect((await read).inode).toMatchObject({ length: 10n });
  expect(owner.parkedCount).toBe(0);
});

test('a second truncation gives a read no more time', async () => {
  const { service, client, cut, finish, id, owner } = await cutting();
  const cuts = [cut(10n), cut(5n)];
  const read = client.call('stat', { inode: id }, { deadlineMs: 3_000 });
  await service.pass(2_000);
  await finish();
  expect(await isSettled(cuts[0]!)).toBe(true);
  expect(await isSettled(read)).toBe(false);
  await service.pass(2_500);
  expect(await isSettled(read)).toBe(true);
  expect(await refused(read)).toBe('TIMED_OUT');
  expect(owner.parkedCount).toBe(0);
  await finish();
  await Promise.all(cuts);
});

test('an update that its client has given up waits no longer, and is not executed', async () => {
  const { service, client, owner, id, cut, finish } = await cutting();
  const first = cut(10n);
  const sequence = client.nextSequence();
  const mode = { inode: id, mode: 0o640 };
  const given = refused(client.call('setAttributes', mode, { sequence, answeredUpTo: sequence - 2n }));
  await service.pass(2_000);
  expect(owner.parkedCount).toBe(1);
  await client.call('stat', { inode: rootId }, { answeredUpTo: sequence });
  await service.pass(2_000);
  expect(owner.parkedCount).toBe(0);
  expect(await given).toBe('STALE_SEQUENCE');
  await finish();
  expect(await isSettled(first)).toBe(true);
  expect((await client.call('stat', { inode: id })).inode).toMatchObject({ length: 10n, mode: 0o600 });
});

test('reads of one file that come again and again leave room for those of others', async () => {
  const { service, client, owner, id, cut } = await cutting();
  void cut(10n);
  const codes = new Set<string>();
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < parkedRequestsMax / 2; index++) {
      void refused(client.call('stat', { inode: id }, { deadlineMs: 1_000 })).then((code) => codes.add(code));
    }
    expect(owner.parkedCount).toBe(parkedRequestsMax / 2);
    await service.pass(3_000);
  }
  expect([...codes]).toEqual(['TIMED_OUT']);
});
