import { expect, test } from 'vitest';
import { engines, oneOf, parseSize, parseTime } from './options.ts';

test.each([
  ['512', 512],
  ['4k', 4096],
  ['1M', 1 << 20],
  ['2GiB', 2 * (1 << 30)],
])('size %s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

test.each(['', '0', '-1', '1x', '1.5m', '99999999999t'])('size %s is refused', (text) => {
  expect(() => parseSize(text)).toThrow(/size/);
});

test.each([
  ['10', 10_000],
  ['500ms', 500],
  ['2m', 120_000],
])('time %s', (text, ms) => expect(parseTime(text)).toBe(ms));

test('a word that is none of the words is refused with all of them', () => {
  expect(() => oneOf(engines, 'engine')('fio')).toThrow(/posix, client, noop/);
});
