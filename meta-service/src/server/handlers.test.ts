import {
  connectInProcess,
  type FsError,
  ManualClock,
  message,
  type RpcClient,
  RpcServer,
  rpcs,
} from '@catena/core';
import { beforeEach, expect, test } from 'vitest';
import { name, TestService } from '../testing/service.ts';
import { handlersOf } from './handlers.ts';

let service: TestService;
let rpc: RpcClient;
const client = Buffer.alloc(16, 3);
const user = { uid: 0, gid: 0, groups: [], pid: 1 };
let sequence = 0n;
const update = () => ({ header: { client, user, sequence: ++sequence, answeredUpTo: sequence - 1n } });
const read = { header: { client, user } };

beforeEach(async () => {
  service = await new TestService().open();
  const clock = new ManualClock();
  const server = new RpcServer({ handlers: handlersOf(service.partition), clock });
  rpc = connectInProcess(server, { clock });
  sequence = 0n;
});

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'OK',
    (error: FsError) => error.code,
  );
}

test('hello, then every kind of request, over frames', async () => {
  const hello = await rpc.call(rpcs.hello, { host: 'here', featureLevel: 1 }, { header: { client } });
  expect(hello).toMatchObject({ nextSequence: 1n, root: 1n, leaseMs: 30_000 });
  const made = await rpc.call(rpcs.makeDirectory, { parent: 1n, name: name('d'), mode: 0o755 }, update());
  const parent = made.inode!.id;
  const file = await rpc.call(rpcs.create, { parent, name: name('f'), mode: 0o644, flags: 2 }, update());
  const inode = file.inode!.id;
  expect(file).toMatchObject({ created: true, inode: { length: 0n } });
  const report = message.LengthReport.fromPartial({ length: 9n });
  const reported = await rpc.call(
    rpcs.report,
    { inode, session: file.session, report, durable: true },
    update(),
  );
  expect(reported.inode!.length).toBe(9n);
  await rpc.call(rpcs.close, { inode, session: file.session, report: undefined }, update());
  expect((await rpc.call(rpcs.lookup, { parent, name: name('f') }, read)).inode).toEqual(reported.inode);
  expect((await rpc.call(rpcs.stat, { inode }, read)).inode).toEqual(reported.inode);
  const link = await rpc.call(rpcs.symlink, { parent, name: name('s'), target: name('f') }, update());
  expect((await rpc.call(rpcs.readLink, { inode: link.inode!.id }, read)).target.toString()).toBe('f');
  await rpc.call(rpcs.link, { inode, parent, name: name('g') }, update());
  await rpc.call(
    rpcs.makeNode,
    { parent, name: name('p'), mode: 0o600, type: message.FileType.FILE_FIFO },
    update(),
  );
  const renamed = { sourceParent: parent, sourceName: name('g'), targetParent: 1n, targetName: name('h') };
  await rpc.call(rpcs.rename, renamed, update());
  await rpc.call(rpcs.unlink, { parent: 1n, name: name('h') }, update());
  const opened = await rpc.call(rpcs.open, { inode, flags: 0 }, update());
  expect(opened).toMatchObject({ created: false, inode: { nlink: 1 } });
  const listed = await rpc.call(rpcs.readDirectory, { inode: parent, plus: true }, read);
  expect(listed.end).toBe(true);
  expect(listed.parent).toBe(1n);
  expect(
    listed.entries.map((entry) => [entry.name.toString(), entry.attributes?.id === entry.inode]).sort(),
  ).toEqual([
    ['f', true],
    ['p', true],
    ['s', true],
  ]);
  const set = await rpc.call(rpcs.setAttributes, { inode, mode: 0o600, length: 4n }, update());
  expect(set.inode).toMatchObject({ mode: 0o600, length: 4n, generation: 1n });
  const layout = message.Layout.fromPartial({ chunkSize: 1 << 16, stripe: 1 });
  expect((await rpc.call(rpcs.setLayout, { inode: parent, layout }, update())).inode!.layout!.chunkSize).toBe(
    1 << 16,
  );
  expect(await rpc.call(rpcs.statFileSystem, {}, read)).toMatchObject({ files: 5n });
  await rpc.call(rpcs.sync, {}, read);
  await rpc.call(rpcs.makeDirectory, { parent: 1n, name: name('e'), mode: 0o755 }, update());
  await rpc.call(rpcs.removeDirectory, { parent: 1n, name: name('e') }, update());
});

test('refusals come as codes, whatever is wrong', async () => {
  expect(await codeOf(rpc.call(rpcs.stat, { inode: 1n }, read))).toBe('SESSION_UNKNOWN');
  expect(await codeOf(rpc.call(rpcs.sync, {}, read))).toBe('SESSION_UNKNOWN');
  const short = { header: { client: Buffer.alloc(3) } };
  expect(await codeOf(rpc.call(rpcs.hello, { host: '', featureLevel: 1 }, short))).toBe('INVALID_ARGUMENT');
  await rpc.call(rpcs.hello, { host: '', featureLevel: 1 }, { header: { client } });
  expect(await codeOf(rpc.call(rpcs.lookup, { parent: 1n, name: name('x') }, read))).toBe('NOT_FOUND');
  expect(await codeOf(rpc.call(rpcs.unlink, { parent: 1n, name: name('x') }, read))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(rpc.call(rpcs.lookup, { parent: 1n, name: Buffer.alloc(300, 97) }, read))).toBe(
    'NAME_TOO_LONG',
  );
});

test('a body that is cut refuses that request and no other', async () => {
  await rpc.call(rpcs.hello, { host: '', featureLevel: 1 }, { header: { client } });
  const cut = { ...rpcs.lookup, request: { ...rpcs.lookup.request, encode: cutEncoder } };
  expect(await codeOf(rpc.call(cut, { parent: 1n, name: name('abc') }, read))).toBe('BAD_MESSAGE');
  expect(await codeOf(rpc.call(rpcs.stat, { inode: 1n }, read))).toBe('OK');
});

function cutEncoder(request: message.LookupRequest): { finish(): Uint8Array } {
  const whole = message.LookupRequest.encode(request).finish();
  return { finish: () => whole.subarray(0, whole.length - 1) };
}

test('a long directory comes in pages that fit a message', async () => {
  await rpc.call(rpcs.hello, { host: '', featureLevel: 1 }, { header: { client } });
  const seen = new Set<string>();
  const made = 5_000;
  const make = (index: number): Promise<unknown> => {
    const text = name(`${index}-${'x'.repeat(245)}`.slice(0, 250));
    const body = { parent: 1n, name: text, mode: 0o600, type: message.FileType.FILE_REGULAR };
    return rpc.call(rpcs.makeNode, body, update());
  };
  for (let first = 0; first < made; first += 200) {
    await Promise.all(Array.from({ length: 200 }, (_, index) => make(first + index)));
  }
  let offset = 0n;
  let pages = 0;
  for (; ; pages++) {
    const reply = await rpc.call(rpcs.readDirectory, { inode: 1n, offset, plus: true }, read);
    for (const entry of reply.entries) seen.add(entry.name.toString());
    if (reply.end) break;
    offset = reply.entries.at(-1)!.offset;
  }
  expect(seen.size).toBe(made);
  expect(pages).toBeGreaterThan(1);
});
