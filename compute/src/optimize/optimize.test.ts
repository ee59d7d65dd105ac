import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineConnection } from '../engine/database.ts';
import { inOrder, makeNode, type Node } from '../plan/nodes.ts';
import { openParquet } from '../sources/parquet.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';
import { type OptimizedPlan, optimize } from './optimize.ts';
import { columnsReferenced } from './references.ts';
import { syntaxOf } from './syntax.ts';

let scratch: Scratch;
let connection: EngineConnection;
let file: string;
beforeAll(async () => {
  scratch = await makeScratch();
  connection = await scratch.database.connect();
  file = await scratch.parquet(
    't.parquet',
    "SELECT 1 AS a, 2 AS b, 3 AS c, {'x': 4, 'y': 5} AS s, 9007199254740993 AS big",
  );
});
afterAll(() => {
  connection.close();
  scratch.remove();
});

const source = (): Node =>
  makeNode({ kind: 'source', patterns: [file], recursive: false, columns: undefined });
const hashed = (input: Node, ...keys: string[]): Node =>
  makeNode({ kind: 'repartition', input, partitions: 4, division: { by: 'hash', keys } });
const sql = (query: string, ...inputs: Node[]): Node => makeNode({ kind: 'sql', query, inputs });
const filter = (condition: string, input: Node): Node =>
  makeNode({ kind: 'filter', input, condition, alias: 'input' });

async function plan(root: Node): Promise<OptimizedPlan> {
  const sources = new Map();
  for (const node of inOrder(root)) {
    if (node.kind === 'source')
      sources.set(node.id, await openParquet(connection, node.patterns, node.recursive));
  }
  return await optimize(connection, root, sources);
}
/** What the sources read, and the shape of the plan from the top. */
async function shape(root: Node): Promise<{ reads: string; plan: string }> {
  const { root: optimized, kept } = await plan(root);
  const nodes = inOrder(optimized);
  const reads = nodes.filter((node) => node.kind === 'source').map((node) => kept.get(node.id)!.join());
  const word = (node: Node): string => (node.kind === 'filter' ? `filter ${node.condition}` : node.kind);
  return { reads: reads.join(' and '), plan: nodes.reverse().map(word).join(' < ') };
}

describe('columns that a query may touch', () => {
  test.each([
    ['SELECT a, sum(b) FROM t GROUP BY a', 'a b'],
    ['SELECT count(*) FROM t', ''],
    ['SELECT t.a FROM t WHERE B > 1 ORDER BY C', 't a b c'],
    ['SELECT s.x FROM t', 's x'],
    ['SELECT a FROM t JOIN u USING (k)', 'a k'],
    ['SELECT a FROM t JOIN u ON t.k = u.l', 'a t k u l'],
    ['SELECT (SELECT max(b) FROM u WHERE u.k = t.k) FROM t', 'b u k t'],
    ['SELECT sum(a) OVER (PARTITION BY b ORDER BY c) FROM t', 'a b c'],
    ['WITH x AS (SELECT a FROM t) SELECT a FROM x', 'a'],
    ['SELECT [i + a FOR i IN l] FROM t', 'i a l'],
  ])('%s', async (query, names) => {
    const found = columnsReferenced(await syntaxOf(connection, query), ['t', 'u']);
    expect(found === undefined ? undefined : [...found].sort()).toEqual(
      names.split(' ').filter(Boolean).sort(),
    );
  });

  test.each([
    'SELECT * FROM t',
    'SELECT t.* FROM t',
    "SELECT COLUMNS('a.*') FROM t",
    'SELECT t FROM t',
    'SELECT x FROM t AS x',
    'SELECT count(x) FROM (SELECT a FROM t) AS x',
    'SELECT a FROM t NATURAL JOIN u',
    'SELECT p FROM t AS x(p, q)',
    'FROM t',
    'SELECT #1 FROM t',
    "SELECT a FROM query('SELECT a FROM t')",
    "SELECT a FROM query_table('t')",
    'SELECT a FROM (SUMMARIZE t)',
    'SELECT a FROM (PIVOT t ON c IN (1, 2) USING sum(b))',
    'SELECT a FROM t WHERE EXISTS (FROM u)',
  ])('%s: all of them', async (query) => {
    expect(columnsReferenced(await syntaxOf(connection, query), ['t', 'u'])).toBeUndefined();
  });
});

describe('the optimizer', () => {
  test.each([
    [
      'what the query names',
      () => sql('SELECT a, sum(b) AS n FROM {0} GROUP BY a', hashed(source(), 'a')),
      'a,b',
    ],
    ['the keys too', () => sql('SELECT sum(b) AS n FROM {0}', hashed(source(), 'C')), 'b,c'],
    ['one column, to count rows', () => sql('SELECT count(*) AS n FROM {0}', source()), 'a'],
    ['conditions too', () => sql('SELECT sum(b) AS n FROM {0}', filter('c > 1', source())), 'b,c'],
    ['all, for a star', () => sql('SELECT * FROM {0}', hashed(source(), 'a')), 'a,b,c,s,big'],
    ['all, at the top', () => hashed(source(), 'a'), 'a,b,c,s,big'],
    [
      'the union of two consumers',
      () => {
        const shared = hashed(source(), 'a');
        return sql(
          'SELECT x.n FROM {0} AS x, {1} AS y',
          sql('SELECT b AS n FROM {0}', shared),
          sql('SELECT c AS m FROM {0}', shared),
        );
      },
      'a,b,c',
    ],
  ])('reads %s', async (_name, root, reads) => {
    expect((await shape(root())).reads).toBe(reads);
  });

  test.each([
    [
      'a filter goes below an exchange',
      () => filter('b > 1', hashed(source(), 'a')),
      'repartition < filter b > 1 < source',
    ],
    [
      'a WHERE is copied below an exchange, exact in its numbers',
      () => sql('SELECT a FROM {0} AS x WHERE x.big > 9007199254740993', hashed(source(), 'a')),
      'sql < repartition < filter (x.big > 9007199254740993) < source',
    ],
    [
      'not one that rolls dice',
      () => filter('b > random()', hashed(source(), 'a')),
      'filter b > random() < repartition < source',
    ],
    [
      'not one that asks the time',
      () => filter("now() > DATE '2000-01-01'", hashed(source(), 'a')),
      "filter now() > DATE '2000-01-01' < repartition < source",
    ],
    [
      'not one with a subquery',
      () => sql('SELECT a FROM {0} WHERE b IN (SELECT 1)', hashed(source(), 'a')),
      'sql < repartition < source',
    ],
    [
      'not the HAVING or QUALIFY',
      () => sql('SELECT a, count(*) AS n FROM {0} GROUP BY a HAVING count(*) > 1', hashed(source(), 'a')),
      'sql < repartition < source',
    ],
    [
      'not that of a join',
      () => sql('SELECT x.a FROM {0} AS x JOIN {0} AS y USING (a) WHERE x.b = 1', hashed(source(), 'a')),
      'sql < repartition < source',
    ],
    [
      'not below exact rows',
      () =>
        filter(
          'b > 1',
          makeNode({ kind: 'repartition', input: source(), partitions: 2, division: { by: 'rows' } }),
        ),
      'filter b > 1 < repartition < source',
    ],
    [
      'not below an exchange that others read',
      () => {
        const shared = hashed(source(), 'a');
        return sql('SELECT x.a FROM {0} AS x JOIN {1} AS y USING (a)', filter('b > 1', shared), shared);
      },
      'sql < filter b > 1 < repartition < source',
    ],
  ])('%s', async (_name, root, expected) => {
    expect((await shape(root())).plan).toBe(expected);
  });
});
