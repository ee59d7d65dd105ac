import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineConnection } from '../engine/database.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';
import { partitionSql } from './partition-sql.ts';

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

const hash = (type: string) => ({ kind: 'hash', keys: [{ column: 'k', type }] }) as const;
async function partitionOf(value: string, type: string, partitions: number): Promise<number> {
  return await connection.count(
    `SELECT ${partitionSql(hash(type), partitions, { kind: 'whole' })} FROM (SELECT ${value} AS k)`,
    'a test',
  );
}

describe('the partition of a row', () => {
  test('equal keys of different types meet, NULL has a place of its own', async () => {
    const numbers = [
      '1::TINYINT',
      '1::INTEGER',
      '1::BIGINT',
      '1::DOUBLE',
      '1.000::DECIMAL(18,3)',
      '1::UBIGINT',
    ];
    const places = await Promise.all(numbers.map((value) => partitionOf(value, 'DOUBLE', 64)));
    expect(new Set(places).size).toBe(1);
    expect(await partitionOf('NULL::INTEGER', 'DOUBLE', 64)).toBe(
      await partitionOf('NULL::VARCHAR', 'DOUBLE', 64),
    );
    expect(await partitionOf('-0.0::DOUBLE', 'DOUBLE', 64)).toBe(
      await partitionOf('0::INTEGER', 'DOUBLE', 64),
    );
  });

  test('NULL in one of two keys is not the same as in the other, and neither is dropped', async () => {
    const rule = {
      kind: 'hash',
      keys: [
        { column: 'a', type: 'INTEGER' },
        { column: 'b', type: 'INTEGER' },
      ],
    } as const;
    const rows = await connection.rows(
      `SELECT count(DISTINCT ${partitionSql(rule, 64, { kind: 'whole' })}) AS n, count(*) AS c
       FROM (SELECT unnest([1, NULL, 1, NULL]) AS a, unnest([NULL, 1, 1, NULL]) AS b)`,
      'a test',
    );
    expect(rows).toEqual([{ n: 4n, c: 4n }]);
  });

  test('spreads sequential keys evenly over any number of partitions', async () => {
    for (const partitions of [3, 16, 64]) {
      const [row] = await connection.rows(
        `SELECT min(n) AS least, max(n) AS most, count(*) AS used FROM (
           SELECT ${partitionSql(hash('BIGINT'), partitions, { kind: 'whole' })} AS p, count(*) AS n
           FROM (SELECT range AS k FROM range(64000)) GROUP BY p)`,
        'a test',
      );
      expect(Number(row!.used)).toBe(partitions);
      expect(Number(row!.most) / Number(row!.least)).toBeLessThan(1.5);
    }
  });

  test('both steps of a large fan-out together are the whole one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 65, max: 4096 }),
        fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }),
        async (partitions, key) => {
          const at = async (step: Parameters<typeof partitionSql>[2]): Promise<number> =>
            await connection.count(
              `SELECT ${partitionSql(hash('BIGINT'), partitions, step)} FROM (SELECT ${key} AS k)`,
              'a test',
            );
          const whole = await connection.count(
            `SELECT (hash(${key}::BIGINT) >> 32) % ${partitions}`,
            'a test',
          );
          const group = await at({ kind: 'groups', size: 64 });
          expect(group * 64 + (await at({ kind: 'within', size: 64 }))).toBe(whole);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('a number out of range is an error that names it', async () => {
    const rule = { kind: 'column', expression: 'k % 5' } as const;
    const place = (key: string): Promise<number> =>
      connection.count(
        `SELECT ${partitionSql(rule, 3, { kind: 'whole' })} FROM (SELECT ${key} AS k)`,
        'a test',
      );
    expect(await place('7')).toBe(2);
    await expect(place('4')).rejects.toThrow('partition key 4 is out of range 0-2');
    await expect(place('-1')).rejects.toThrow('partition key -1 is out of range 0-2');
    await expect(place('NULL::INTEGER')).rejects.toThrow('partition key NULL is out of range 0-2');
  });
});
