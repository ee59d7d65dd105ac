import { message } from '@catena/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keyBytes } from './keys.ts';
import { decodeLogRecord, encodeLogRecord, valueAt } from './log-record.ts';
import type { Table } from './tables.ts';

const plain: Table<unknown> = {
  name: 'plain',
  write: (writer, value) => writer.append(value as Buffer),
  decode: (value) => value,
};

const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array));
const change = fc.record({
  key: bytes.filter((key) => key.length > 0).map((key) => key.toString('latin1')),
  value: fc.option(bytes, { nil: undefined }),
});

test('a log record has the bytes of the generated code, and comes back', () => {
  void fc.assert(
    fc.property(fc.array(change), fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), (changes, number) => {
      const whole: message.LogRecord = {
        recordVersion: 1,
        epoch: 3n,
        number,
        changes: [],
      };
      const map = new Map(changes.map(({ key, value }) => [key, { table: plain, value, batch: 1 }]));
      whole.changes = [...map].map(([key, { value }]) => ({ key: keyBytes(key), value }));
      const encoded = encodeLogRecord(3n, number, map);
      expect(encoded.record).toEqual(Buffer.from(message.LogRecord.encode(whole).finish()));
      expect(decodeLogRecord(encoded.record)).toEqual(whole);
      expect(encoded.keys.map((_key, index) => valueAt(encoded, index))).toEqual(
        [...map.values()].map(({ value }) => value),
      );
    }),
  );
});

test('a record of a newer release is refused', () => {
  const newer = message.LogRecord.encode({ recordVersion: 2, epoch: 1n, number: 1n, changes: [] }).finish();
  expect(() => decodeLogRecord(newer)).toThrow(expect.objectContaining({ code: 'NEWER_DATA' }));
});
