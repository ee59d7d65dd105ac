// The same messages and frames, encoded here and by native/crates/wire/tests/golden.rs, must be the bytes in
// native/proto/golden/messages.txt. `UPDATE=1` rewrites that file; then the Rust test tells whether both
// sides agree.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { encodeFrame, FrameParser } from './frame.ts';
import * as m from './messages.ts';

const path = new URL('../../native/proto/golden/messages.txt', import.meta.url);
const client = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const large = 0xfedc_ba98_7654_3210n;

const header = m.RequestHeader.fromPartial({
  requestId: 7n,
  deadlineMs: 1500,
  priority: m.Priority.METADATA,
  user: { uid: 1000, gid: 100, groups: [4, 300, 70000], pid: 4242 },
  capability: Buffer.from('cafe', 'hex'),
  client,
  sequence: large,
  answeredUpTo: 300n,
});
const chain = m.Chain.fromPartial({
  id: 3,
  version: 9n,
  members: [
    { target: 101n, node: 1, state: m.PublicState.PUBLIC_SERVING, disk: 0 },
    { target: 201n, node: 2, state: m.PublicState.PUBLIC_SYNCING, disk: 1 },
    { target: 301n, node: 3, state: m.PublicState.PUBLIC_OFFLINE, disk: 0 },
  ],
  durabilityEpoch: 2n,
  preferred: [101n, 201n, 301n],
  last: [101n],
  reordering: true,
  orderGivenUp: true,
  term: large,
  follows: [
    { term: 0n, lastVersion: 5n, over: false },
    { term: 77n, lastVersion: 8n, over: true },
  ],
});
const layout = { table: 1, tableVersion: 2, chunkSize: 1 << 20, stripe: 16, first: 3, flushEachWrite: true };
const inode = m.Inode.fromPartial({
  recordVersion: 1,
  id: large,
  type: m.FileType.FILE_SYMLINK,
  mode: 0o4755,
  uid: 1000,
  gid: 100,
  nlink: 2,
  length: 1n << 40n,
  atimeNs: -1n,
  mtimeNs: 1_700_000_000_123_456_789n,
  ctimeNs: -(1n << 62n),
  createdNs: 1n,
  generation: 4n,
  parent: 1n,
  device: 0x801,
  flags: 16,
  blocksBytes: 4096n,
  symlink: Buffer.from('ziel/ä'),
  layout,
  entries: 5n,
  change: 77n,
});

const messages: Record<string, Uint8Array> = {
  'stat-request': m.StatRequest.encode({ header, inode: 1n }).finish(),
  'reply-header': m.AnyReply.encode({
    header: { requestId: 7n, code: 12, detail: 'target 7 ist voll: ü', retryAfterMs: 250 },
  }).finish(),
  'empty-reply': m.EmptyReply.encode(m.EmptyReply.fromPartial({ header: { requestId: 1n } })).finish(),
  inode: m.Inode.encode(inode).finish(),
  'open-reply': m.OpenReply.encode(
    m.OpenReply.fromPartial({ header: { requestId: 300n }, inode, session: 6n, created: true }),
  ).finish(),
  routing: m.Routing.encode(
    m.Routing.fromPartial({
      version: 12n,
      fromVersion: 11n,
      cluster: 'c1',
      nodes: [
        { id: 1, kind: m.NodeKind.NODE_META, address: '127.0.0.1:7401', incarnation: large, alive: true },
      ],
      chains: [chain],
      tables: [
        { id: 1, version: 1, chains: [3, 4, 500] },
        { id: 2, version: 3, chains: [3, 4, 500], lengths: [1, 2] },
      ],
      clientsAdded: [client],
      clientsRemoved: [Buffer.alloc(16, 0xff)],
    }),
  ).finish(),
  'update-request': m.UpdateRequest.encode(
    m.UpdateRequest.fromPartial({
      header: { requestId: 1n },
      chain: 3,
      chainVersion: 9n,
      chunk: { inode: large, index: 5n },
      tag: { client, channel: 63, sequence: 1n },
      kind: m.UpdateKind.UPDATE_TRUNCATE,
      offset: 4096,
      length: 1 << 20,
      crc: 0xdeadbeef,
      version: { chain: 9n, number: 10n },
      flush: true,
      chunkSize: 1 << 20,
      base: { chain: 9n, number: 9n },
    }),
  ).finish(),
  'set-attributes': m.SetAttributesRequest.encode(
    m.SetAttributesRequest.fromPartial({
      header: { requestId: 1n },
      inode: 2n,
      mode: 0,
      mtimeNs: -5n,
      length: 0n,
    }),
  ).finish(),
  'log-record': m.LogRecord.encode(
    m.LogRecord.fromPartial({
      recordVersion: 1,
      epoch: 2n,
      number: 3n,
      changes: [
        { key: Buffer.from([1, 0, 255]), value: Buffer.alloc(0) },
        { key: Buffer.from('gone') },
        { key: Buffer.from('k'), value: Buffer.from('v') },
      ],
    }),
  ).finish(),
};

test('messages and frames are the golden bytes', () => {
  const lines = Object.entries(messages).map(
    ([name, bytes]) => `${name} ${Buffer.from(bytes).toString('hex')}`,
  );
  const frame = encodeFrame(m.MessageKind.KIND_STAT, 0, messages['stat-request']!);
  const reply = encodeFrame(m.MessageKind.KIND_CREATE, 1, messages['open-reply']!);
  lines.push(`frame-stat ${frame.toString('hex')}`, `frame-open-reply ${reply.toString('hex')}`);
  const first = '# name, bytes; see core/src/golden.test.ts and native/crates/wire/tests/golden.rs';
  const text = `${first}\n${lines.join('\n')}\n`;
  if (process.env.UPDATE === '1') writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, 'utf8'));
});

test('golden bytes decode to the same messages', () => {
  const golden = new Map(
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(' ') as [string, string]),
  );
  expect(m.Inode.decode(Buffer.from(golden.get('inode')!, 'hex'))).toEqual(inode);
  expect(m.StatRequest.decode(Buffer.from(golden.get('stat-request')!, 'hex')).header).toEqual(header);
  expect(m.Routing.decode(Buffer.from(golden.get('routing')!, 'hex')).chains).toEqual([chain]);
  const seen: number[] = [];
  const parser = new FrameParser((kind, flags, message) => {
    seen.push(kind, flags, message.length);
  });
  parser.push(Buffer.from(golden.get('frame-open-reply')!, 'hex'));
  expect(seen).toEqual([m.MessageKind.KIND_CREATE, 1, messages['open-reply']!.length]);
});
