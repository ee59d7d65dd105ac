// One service and one client, made anew for each test of operations, and the steps that most of them begin
// with.
import type { message } from '@catena/core';
import { name, TestClient, TestService } from './service.ts';

export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const rootId = 1n;
export const alice = { uid: 1000, gid: 1000 };
export const bob = { uid: 1001, gid: 1001 };

export let service: TestService;
export let client: TestClient;

export async function startAnew(): Promise<void> {
  service = await new TestService({ root: { mode: 0o777 } }).open();
  client = await new TestClient(service).hello();
}

export async function makeDirectory(
  parent: bigint,
  text: string,
  mode = 0o755,
  user = alice,
): Promise<message.Inode> {
  const { inode } = await client.call('makeDirectory', { parent, name: name(text), mode }, { user });
  return inode!;
}
export async function makeFile(
  parent: bigint,
  text: string,
  mode = 0o644,
  user = alice,
): Promise<message.Inode> {
  const reply = await client.call(
    'create',
    { parent, name: name(text), mode, flags: O_RDWR | O_EXCL },
    { user },
  );
  await client.call('close', { inode: reply.inode!.id, session: reply.session });
  return reply.inode!;
}
export async function stat(inode: bigint): Promise<message.Inode> {
  return (await client.call('stat', { inode })).inode!;
}
export async function lookup(parent: bigint, text: string): Promise<message.Inode> {
  return (await client.call('lookup', { parent, name: name(text) })).inode!;
}
export async function names(inode: bigint): Promise<string[]> {
  const { entries } = await client.call('readDirectory', { inode });
  return entries.map((entry) => entry.name.toString()).sort();
}
