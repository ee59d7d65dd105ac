import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineConnection } from '../engine/database.ts';
import { quoteName, quoteText } from '../engine/sql-text.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';
import { decodeSql, emptySql, encodeColumn, resultSql } from './encoding.ts';

let scratch: Scratch;
let connection: EngineConnection;
beforeAll(async () => {
  scratch = await makeScratch();
  connection = await scratch.database.connect();
});
afterAll(() => {
  connection.close();
  scratch.remove();
});

/**
 * Writes a column into Parquet and reads it back; returns how many rows changed, and the type that came
 * back.
 */
async function roundTrip(
  select: string,
): Promise<{ type: string; was: string; changed: number; encoding: string }> {
  const [column] = await connection.columns(select, 'a test');
  const { stored, sql } = encodeColumn(column!);
  const name = quoteName(column!.name);
  const file = quoteText(scratch.path('round.parquet'));
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE was AS SELECT row_number() OVER () AS r, * FROM (${select})`,
    'a test',
  );
  await connection.run(`COPY (SELECT r, ${sql} FROM was) TO ${file} (FORMAT parquet)`, 'a test');
  const back = `SELECT r, ${decodeSql(stored)} FROM read_parquet(${file})`;
  const columns = await connection.columns(back, 'a test');
  const text = (value: string): string => `${value} IS NOT DISTINCT FROM`;
  const changed = await connection.count(
    `SELECT count(*) FROM was JOIN (${back}) AS b USING (r)
     WHERE NOT (${text(`was.${name}`)} b.${name} AND ${text(`was.${name}::VARCHAR`)} b.${name}::VARCHAR)`,
    'a test',
  );
  const rows = await connection.count(`SELECT count(*) FROM (${back})`, 'a test');
  const before = await connection.count('SELECT count(*) FROM was', 'a test');
  expect(rows).toBe(before);
  return { type: columns[1]!.type, was: column!.type, changed, encoding: stored.encoding };
}

describe('types between tasks', () => {
  test('every type of DuckDB comes back as it was, with its least and greatest values and NULL', async () => {
    const columns = await connection.columns('SELECT * FROM test_all_types()', 'a test');
    expect(columns.length).toBeGreaterThan(50);
    const wrong: string[] = [];
    for (const { name } of columns) {
      const { type, was, changed } = await roundTrip(`SELECT ${quoteName(name)} FROM test_all_types()`);
      if (type !== was || changed !== 0)
        wrong.push(`${name}: ${was.slice(0, 60)} became ${type.slice(0, 60)}, ${changed} rows`);
    }
    expect(wrong).toEqual([]);
  });

  const hugest = '170141183460469231731687303715884105727::HUGEINT';
  test.each([
    ['HUGEINT', `SELECT unnest([${hugest}, -${hugest} - 1, 0, -1, 9007199254740993, NULL]) AS v`, 'halves'],
    [
      'UHUGEINT',
      "SELECT unnest(['340282366920938463463374607431768211455'::UHUGEINT, 0, NULL]) AS v",
      'unsignedHalves',
    ],
    ['sum(BIGINT)', 'SELECT sum(9007199254740993) AS v FROM range(3)', 'halves'],
    ['ENUM', "SELECT 'b'::ENUM('a', 'b', 'c') AS v UNION ALL SELECT NULL", 'cast'],
    [
      'INTERVAL',
      "SELECT unnest([INTERVAL '1 month 30 days 25 hours 1 microsecond', INTERVAL '-1 day', NULL]) AS v",
      'cast',
    ],
    ['BIT', "SELECT unnest(['010101'::BIT, '0'::BIT, NULL]) AS v", 'cast'],
    ['TIMETZ', "SELECT unnest(['12:00:00+05:30'::TIMETZ, '00:00:00-15:59:59'::TIMETZ, NULL]) AS v", 'cast'],
    [
      'UNION',
      'SELECT unnest([union_value(a := 1)::UNION(a INTEGER, b VARCHAR), union_value(b := NULL::VARCHAR), NULL]) AS v',
      'union',
    ],
    ['ARRAY', 'SELECT unnest([[1, NULL, 3]::INTEGER[3], NULL]) AS v', 'cast'],
    ['HUGEINT[]', `SELECT unnest([[${hugest}, NULL], [], NULL]) AS v`, 'cast'],
    ['STRUCT', `SELECT unnest([{'a b': ${hugest}, 'l': [INTERVAL '1 month']}, NULL]) AS v`, 'cast'],
    ['MAP', `SELECT unnest([MAP {${hugest}: 'x'}, MAP {}, NULL]) AS v`, 'cast'],
    ['STRUCT[2][]', "SELECT [[{'e': 'b'::ENUM('a', 'b')}, NULL]::STRUCT(e ENUM('a', 'b'))[2]] AS v", 'cast'],
    ['JSON', `SELECT '{"a": 1}'::JSON AS v`, 'plain'],
    ['NULL', 'SELECT NULL AS v', 'plain'],
    ['a quoted name', `SELECT ${hugest} AS "odd ""name"", \\'"`, 'halves'],
  ])('%s', async (_name, select, encoding) => {
    const { type, was, changed, ...rest } = await roundTrip(select);
    expect({ type, changed, ...rest }).toEqual({ type: was, changed: 0, encoding });
  });

  test('a type that cannot be carried is refused by name, not changed', async () => {
    const [column] = await connection.columns('SELECT [union_value(a := 1)] AS v', 'a test');
    expect(() => encodeColumn(column!)).toThrow(/column v of type UNION\(a INTEGER\)\[\]/);
  });

  test('an empty relation has the same names and types', async () => {
    const select = "SELECT 1::HUGEINT AS h, 'a'::ENUM('a') AS e, [INTERVAL '1 day'] AS i";
    const columns = await connection.columns(select, 'a test');
    const empty = await connection.columns(
      emptySql(columns.map((column) => encodeColumn(column).stored)),
      'a test',
    );
    expect(empty.map(({ name, type }) => [name, type])).toEqual(
      columns.map(({ name, type }) => [name, type]),
    );
  });

  test('a result for people holds huge integers exactly, and refuses those of more than 38 digits', async () => {
    const write = async (value: string): Promise<unknown> => {
      const select = `SELECT ${value} AS v`;
      const [column] = await connection.columns(select, 'a test');
      const file = quoteText(scratch.path('result.parquet'));
      await connection.run(
        `COPY (SELECT ${resultSql(column!)} FROM (${select})) TO ${file} (FORMAT parquet)`,
        'a test',
      );
      return (await connection.rows(`SELECT v::VARCHAR AS v FROM ${file}`, 'a test'))[0]?.v;
    };
    expect(await write('9007199254740993::HUGEINT')).toBe('9007199254740993');
    await expect(write(hugest)).rejects.toMatchObject({ code: 'BAD_QUERY' });
  });
});
