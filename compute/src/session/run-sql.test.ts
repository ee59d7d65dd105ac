import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { jsonRows, runSql, tableText } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let scratch: Scratch;
beforeAll(async () => {
  scratch = await makeScratch();
  writeFileSync(scratch.path('people.csv'), 'name,age\nAda,36\nBob,\n');
  writeFileSync(scratch.path('pets.json'), '[{"owner":"Ada","pet":"cat"}]');
});
afterAll(() => scratch.remove());

describe('a query from the command line', () => {
  test('joins files of several formats and prints a table', async () => {
    const { columns, rows, isCut, explain } = await runSql(
      `SELECT name, age, pet FROM '${scratch.path('people.csv')}'
       LEFT JOIN '${scratch.path('pets.json')}' ON owner = name ORDER BY name`,
      { scratchDirectory: scratch.path('jobs') },
    );
    expect(isCut).toBe(false);
    expect(tableText(columns, rows)).toBe(
      'name   age  pet\n----  ----  ----\nAda     36  cat\nBob   NULL  NULL\n',
    );
    expect(explain).toContain('run whole on one worker');
  });

  test('gives JSON that is exact, or says so as text', async () => {
    const { rows } = await runSql(
      `SELECT 1 AS i, 9007199254740993 AS big, 1.5::DECIMAL(9, 2) AS d,
         DATE '2001-02-03' AS day, [1, NULL] AS l,
         {'a': TIMESTAMP '2001-02-03 04:05:06'} AS s, 'nan'::DOUBLE AS x, MAP {'k': 2} AS m, NULL AS n`,
      { scratchDirectory: scratch.path('jobs') },
    );
    expect(JSON.parse(JSON.stringify(jsonRows(rows)))).toEqual([
      {
        i: 1,
        big: '9007199254740993',
        d: '1.50',
        day: '2001-02-03',
        l: [1, null],
        s: { a: '2001-02-03 04:05:06' },
        x: 'NaN',
        m: [{ key: 'k', value: 2 }],
        n: null,
      },
    ]);
  });

  test('keeps columns of no rows, and says when it cut rows off', async () => {
    const options = { scratchDirectory: scratch.path('jobs'), rowsMax: 3 };
    expect(await runSql('SELECT 1 AS a WHERE false', options)).toMatchObject({
      columns: ['a'],
      rows: [],
      isCut: false,
    });
    const cut = await runSql('SELECT range AS n FROM range(9)', options);
    expect([cut.rows.length, cut.isCut]).toEqual([3, true]);
  });

  test('has one clear error', async () => {
    const options = { scratchDirectory: scratch.path('jobs') };
    await expect(runSql("SELECT * FROM 'nothing.csv'", options)).rejects.toMatchObject({ code: 'BAD_INPUT' });
    await expect(runSql('SELECT', options)).rejects.toMatchObject({ code: 'BAD_QUERY' });
    await expect(runSql('SELECT 1', { ...options, slots: 0 })).rejects.toThrow(
      /slots: 0; give a whole number/,
    );
    await expect(runSql('SELECT 1', { ...options, memoryBytes: 1 })).rejects.toThrow(/at least 64 MiB/);
    await expect(runSql('SELECT 1', { scratchDirectory: '/proc/nothing' })).rejects.toThrow(
      /scratchDirectory/,
    );
  });
});

test('a table is aligned, numbers to the right, and stays on its lines', () => {
  expect(
    tableText(
      ['n', 'text'],
      [
        { n: 1n, text: 'a\nb' },
        { n: 100, text: 'x'.repeat(80) },
      ],
    ),
  ).toBe(`  n  text\n---  ${'-'.repeat(60)}\n  1  a b\n100  ${'x'.repeat(59)}…\n`);
});
