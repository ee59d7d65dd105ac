import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as keys from './keys.ts';
import { nameOffset } from './name-hash.ts';

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const hex = (key: string): string => keys.keyBytes(key).toString('hex');

test('keys are part of the stored format: these bytes must never change', () => {
  expect(hex(keys.inodeKey(0x0123456789abcdefn))).toBe('490123456789abcdef');
  expect(hex(keys.entryKey(1n, 0xfffffffffffffffen))).toBe('450000000000000001fffffffffffffffe');
  expect(hex(keys.sessionKey(2n, 3n))).toBe('5300000000000000020000000000000003');
  expect(hex(keys.removalKey(4n))).toBe('520000000000000004');
  expect(hex(keys.truncationKey(5n))).toBe('540000000000000005');
  expect(hex(keys.orphanKey(6n))).toBe('4f0000000000000006');
  expect(hex(keys.counterKey('files'))).toBe('4e66696c6573');
  const client = keys.clientText(Buffer.from('00ff80fe'.repeat(4), 'hex'));
  expect(hex(keys.clientKey(client))).toBe(`43${'00ff80fe'.repeat(4)}`);
  expect(hex(keys.answerKey(client, 255))).toBe(`41${'00ff80fe'.repeat(4)}ff`);
});

test('the hash of a name is part of the stored format: it must never change', () => {
  const names = ['', 'a', 'b', 'file-1', 'file-2', 'ä', 'x'.repeat(255)];
  expect(names.map((name) => nameOffset(Buffer.from(name)).toString(16))).toMatchInlineSnapshot(`
    [
      "2ed8d75db611400",
      "78a6c6a44e4a780",
      "e98bde51de4b780",
      "1b480fd2a20380",
      "bc9eef0d3cdaa00",
      "5e1c6bebff69600",
      "79dabedc9706800",
    ]
  `);
});

test('offsets fit a signed 64-bit number, leave room for collisions, and rarely meet', () => {
  const seen = new Set<bigint>();
  for (let index = 0; index < 100_000; index++) {
    const offset = nameOffset(Buffer.from(`file-${index}`));
    expect(offset >= 128n && offset < 1n << 63n && offset % 128n === 0n).toBe(true);
    seen.add(offset);
  }
  expect(seen.size).toBe(100_000);
  // Spread over the whole range: every sixteenth of it gets its share.
  const shares = new Array<number>(16).fill(0);
  for (const offset of seen) shares[Number(offset >> 56n)]!++;
  for (const share of shares) expect(share).toBeGreaterThan(5_000);
});

test('keys sort as their numbers do, and end in them', () => {
  void fc.assert(
    fc.property(u64, u64, u64, (parent, a, b) => {
      const [first, second] = [keys.entryKey(parent, a), keys.entryKey(parent, b)];
      expect(first < second).toBe(a < b);
      expect(Buffer.compare(keys.keyBytes(first), keys.keyBytes(second)) < 0).toBe(a < b);
      expect(keys.lastNumber(first)).toBe(a);
      const prefix = keys.entriesPrefix(parent);
      expect(first.startsWith(prefix)).toBe(true);
      expect(first < keys.prefixEnd(prefix)).toBe(true);
    }),
  );
  expect(keys.prefixEnd('E')).toBe('F');
  expect(keys.prefixEnd('Eÿÿ')).toBe('F');
});
