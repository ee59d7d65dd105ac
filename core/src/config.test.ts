import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, expectTypeOf, test } from 'vitest';
import { type ConfigSchema, parseConfig, printConfig, readConfig, renderConfig } from './config.ts';
import { FsError } from './errors.ts';

const schema = {
  directory: { type: 'text', unit: 'path', reason: 'Where it is.', scope: 'process' },
  leaseMs: {
    type: 'integer',
    default: 5000,
    min: 10,
    max: 60_000,
    unit: 'ms',
    reason: 'How long.',
    scope: 'cluster',
  },
  hard: { type: 'boolean', default: false, unit: 'yes or no', reason: 'For ever.', scope: 'process' },
  cache: {
    type: 'text',
    default: 'some',
    oneOf: ['none', 'some'],
    unit: 'mode',
    reason: 'What is kept.',
    scope: 'process',
  },
  listen: { type: 'address', default: '127.0.0.1:1', unit: 'host:port', reason: 'Where.', scope: 'process' },
  disks: {
    type: 'textList',
    default: ['a'],
    min: 1,
    max: 2,
    unit: 'path',
    reason: 'Which.',
    scope: 'process',
  },
  media: {
    type: 'textList',
    default: ['slow'],
    min: 1,
    max: 2,
    oneOf: ['slow', 'fast'],
    unit: 'media',
    reason: 'How.',
    scope: 'process',
  },
} as const satisfies ConfigSchema;

function refusal(text: string): string {
  try {
    parseConfig(schema, text, 'x.toml');
  } catch (error) {
    expect(error).toBeInstanceOf(FsError);
    expect((error as FsError).code).toBe('BAD_CONFIG');
    expect((error as FsError).message).not.toContain('\n');
    return (error as FsError).detail;
  }
  return 'accepted';
}

test('values of the file, defaults for the rest, each with its type', () => {
  const config = parseConfig(
    schema,
    'directory = "/d"\nleaseMs = 10\ndisks = ["b", "c"]\nhard = true',
    'x.toml',
  );
  expect(config).toEqual({
    directory: '/d',
    leaseMs: 10,
    hard: true,
    cache: 'some',
    listen: '127.0.0.1:1',
    disks: ['b', 'c'],
    media: ['slow'],
  });
  expectTypeOf(config.leaseMs).toEqualTypeOf<number>();
  expectTypeOf(config.disks).toEqualTypeOf<readonly string[]>();
  expectTypeOf(config.hard).toEqualTypeOf<boolean>();
});

test('everything else refuses with one sentence that names the key', () => {
  expect(refusal('')).toMatch(/"directory" is missing/);
  const ok = 'directory = "/d"\n';
  expect(refusal(`${ok}leasems = 5`)).toMatch(/unknown key "leasems"; did you mean "leaseMs"/);
  expect(refusal(`${ok}somethingElse = 5`)).toMatch(
    /unknown key "somethingElse"; known keys: directory, leaseMs/,
  );
  expect(refusal(`${ok}[listen]\nport = 5`)).toMatch(/"listen" must be an address/);
  for (const wrong of ['9', '60001', '10.5', '"10"', 'true', '-1', 'nan']) {
    expect(refusal(`${ok}leaseMs = ${wrong}`), wrong).toMatch(
      /"leaseMs" must be a whole number of ms, 10 to 60000/,
    );
  }
  expect(refusal(`${ok}hard = "yes"`)).toMatch(/"hard" must be true or false, not "yes"/);
  expect(refusal(`${ok}cache = "all"`)).toMatch(/"cache" must be one of none, some/);
  expect(refusal(`${ok}listen = "localhost"`)).toMatch(/"listen" must be an address/);
  expect(refusal(`${ok}disks = []`)).toMatch(/"disks" must be a list of 1 to 2/);
  expect(refusal(`${ok}disks = ["a", 1]`)).toMatch(/"disks"/);
  expect(refusal(`${ok}media = ["fast", "slow"]`)).toBe('accepted');
  expect(refusal(`${ok}media = ["fast", "fsat"]`)).toMatch(/"media" must be a list of slow, fast, not/);
  expect(refusal('directory = 5')).toMatch(/"directory" must be a text in quotes/);
  expect(refusal('directory = ')).toMatch(/^x\.toml:1:/);
  expect(refusal(`${ok}__proto__ = 5`)).toMatch(/unknown key|__proto__|x\.toml:2/);
});

test('what is printed is read back as the same, and every key has its comment', () => {
  const config = parseConfig(schema, 'directory = "/a \\"b\\""\nleaseMs = 77', 'x.toml');
  const printed = printConfig(schema, config);
  expect(parseConfig(schema, printed, 'printed')).toEqual(config);
  const rendered = renderConfig(schema, { directory: '/d' });
  expect(parseConfig(schema, rendered, 'rendered').leaseMs).toBe(5000);
  for (const [name, key] of Object.entries(schema)) {
    expect(rendered).toContain(name);
    expect(rendered).toContain(key.reason);
  }
  expect(rendered).toMatch(/# leaseMs = 5000/);
  expect(rendered).toMatch(/ms, 10 to 60000, default 5000; per cluster/);
});

test('a file that cannot be read is a wrong configuration', () => {
  const directory = mkdtempSync(join(tmpdir(), 'catena-config-'));
  expect(() => readConfig(schema, join(directory, 'none.toml'))).toThrow(/reading .*none\.toml/);
  writeFileSync(join(directory, 'x.toml'), 'directory = "/d"');
  expect(readConfig(schema, join(directory, 'x.toml')).directory).toBe('/d');
  rmSync(directory, { recursive: true });
});
