import { message } from '@catena/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readAnswer, readSession } from './client-codec.ts';
import { copyOf, type Entry, emptyInode, readEntry, readInode } from './inode-codec.ts';
import { answers, encode, entries, inodes, sessions } from './tables.ts';

const encodeInode = (inode: message.Inode): Buffer => encode(inodes, inode);
const encodeEntry = (entry: Entry): Buffer => encode(entries, entry);

const u32 = fc.nat({ max: 0xffffffff });
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.nat(300).map((bit) => 2n ** BigInt(bit % 64) - BigInt(bit & 1)),
);
const s64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, -1n, 1n, -(2n ** 31n), 2n ** 31n, 2n ** 32n, -(2n ** 63n), 2n ** 63n - 1n),
);
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const layout = fc.record({
  table: u32,
  tableVersion: u32,
  chunkSize: u32,
  stripe: u32,
  first: u32,
  flushEachWrite: fc.boolean(),
});
const type = fc.constantFrom(...Object.values(message.FileType));
const inode: fc.Arbitrary<message.Inode> = fc.record({
  recordVersion: fc.constant(1),
  id: u64,
  type,
  mode: u32,
  uid: u32,
  gid: u32,
  nlink: u32,
  length: u64,
  atimeNs: s64,
  mtimeNs: s64,
  ctimeNs: s64,
  createdNs: s64,
  generation: u64,
  parent: u64,
  device: u32,
  flags: u32,
  blocksBytes: u64,
  symlink: bytes,
  layout: fc.option(layout, { nil: undefined }),
  entries: u64,
  change: u64,
});
const entry = fc.record({ name: bytes, inode: u64, type });

describe('the hand codec writes the bytes of the generated code', () => {
  test('inode, both ways', () => {
    void fc.assert(
      fc.property(inode, (value) => {
        const generated = Buffer.from(message.Inode.encode(value).finish());
        expect(encodeInode(value)).toEqual(generated);
        expect(readInode(generated)).toEqual(value);
        expect(message.Inode.decode(encodeInode(value))).toEqual(value);
      }),
      { numRuns: 2000 },
    );
  });

  test('directory entry, both ways', () => {
    void fc.assert(
      fc.property(entry, (value) => {
        const whole = { ...value, offset: 0n, attributes: undefined, recordVersion: 1 };
        const generated = Buffer.from(message.DirectoryEntry.encode(whole).finish());
        expect(encodeEntry(value)).toEqual(generated);
        expect(readEntry(generated)).toEqual(value);
      }),
      { numRuns: 1000 },
    );
  });

  test('session, both ways', () => {
    const session = fc.record({ client: bytes, inode: u64, session: u64, flags: u32 });
    void fc.assert(
      fc.property(session, (value) => {
        const generated = Buffer.from(message.SessionRecord.encode({ ...value, recordVersion: 1 }).finish());
        const { inode, flags } = value;
        const stored = { client: value.client.toString('latin1'), inode, id: value.session, flags };
        expect(encode(sessions, stored)).toEqual(generated);
        expect(readSession(generated)).toEqual(stored);
      }),
    );
  });

  test('kept answer, both ways', () => {
    const answer = fc.record({
      sequence: u64,
      kind: fc.constant(84 as const),
      reply: bytes,
      truncating: u64,
    });
    void fc.assert(
      fc.property(answer, (value) => {
        const generated = Buffer.from(message.KeptAnswer.encode({ ...value, recordVersion: 1 }).finish());
        expect(encode(answers, value)).toEqual(generated);
        expect(readAnswer(generated)).toEqual(value);
      }),
    );
  });

  test('golden bytes of one inode', () => {
    const value: message.Inode = {
      ...emptyInode(),
      recordVersion: 1,
      id: 0x0123_0000_0000_0042n,
      mode: 0o644,
      uid: 1000,
      gid: 100,
      nlink: 1,
      length: 3_000_000_000n,
      mtimeNs: 1_700_000_000_123_456_789n,
      ctimeNs: -1n,
      layout: { table: 1, tableVersion: 2, chunkSize: 1 << 20, stripe: 16, first: 0, flushEachWrite: true },
      change: 7n,
    };
    expect(encodeInode(value).toString('hex')).toBe(
      '080110c28080808080c0910120a40328e807306438014080bcc1960b50aab4aed8c7bfce972f58019a010c' +
        '080110021880804020103001a80107',
    );
  });
});

test('a copy of an inode has every field, and the shape of a new one', () => {
  void fc.assert(
    fc.property(inode, (value) => {
      const copy = copyOf(value);
      expect(copy).toEqual(value);
      expect(copy).not.toBe(value);
      expect(Object.keys(copy)).toEqual(Object.keys(emptyInode()));
    }),
  );
});

test('a record that is cut or garbled is refused or read, never looped on', () => {
  void fc.assert(
    fc.property(inode, fc.nat(400), fc.nat(255), (value, at, byte) => {
      const good = encodeInode(value);
      for (const bad of [
        good.subarray(0, at % good.length),
        Buffer.from(good).fill(byte, at % good.length),
      ]) {
        try {
          readInode(bad);
        } catch (error) {
          expect(error).toMatchObject({ name: 'FsError' });
        }
      }
    }),
  );
});

test('records of a newer release, or without a version, are refused', () => {
  const newer = message.Inode.encode({ ...emptyInode(), recordVersion: 2 }).finish();
  expect(() => readInode(newer)).toThrow(expect.objectContaining({ code: 'NEWER_DATA' }));
  expect(() => readInode(Buffer.alloc(0))).toThrow(expect.objectContaining({ code: 'CORRUPT' }));
});

test('unknown fields of any wire type are stepped over', () => {
  const known = encodeInode({ ...emptyInode(), recordVersion: 1, mode: 0o755 });
  const unknown = Buffer.from('ba0c03616263' + 'c00c8101' + 'c90c0102030405060708' + 'd50c01020304', 'hex');
  expect(readInode(Buffer.concat([unknown, known])).mode).toBe(0o755);
});
