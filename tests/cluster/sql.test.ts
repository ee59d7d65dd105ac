// SQL on files of the mount: what the README types, the main job, and queries and files that are wrong.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { asText, connect, plainDuckDb } from '../../compute/dist/index.js';
import { catena, RunningCluster, root } from './running-cluster.ts';

let cluster: RunningCluster;
const at = (name: string): string => join(cluster.mount, name);
const flights = join(root, 'node_modules/vega-datasets/data/flights-3m.parquet');

beforeAll(() => {
  cluster = RunningCluster.start();
  mkdirSync(at('flights'));
  copyFileSync(flights, at('flights/flights-3m.parquet'));
  writeFileSync(at('prices.csv'), 'item,price\npear,3\napple,2\nplum,7\n');
});
afterAll(() => cluster.stop());

test('a query over Parquet answers what plain DuckDB answers', () => {
  const query = `select count(*) as flights, count(distinct origin) as origins from '${at('flights/*.parquet')}'`;
  const done = catena('sql', query, '--json');
  expect(done.status, done.stderr).toBe(0);
  expect(JSON.parse(done.stdout)).toEqual([{ flights: 3_000_000, origins: 229 }]);
});

test("a query over the user's own CSV prints a table", () => {
  const done = catena('sql', `select item from '${at('prices.csv')}' where price > 2 order by item`);
  expect(done.status, done.stderr).toBe(0);
  expect(done.stdout.trim().split('\n')).toEqual(['item', '----', 'pear', 'plum']);
});

test.each([
  ['no SQL', 'selekt 1', 'BAD_QUERY'],
  ['a column that does not exist', "select nothing from 'MOUNT/prices.csv'", 'BAD_QUERY'],
  ['a file that is not there', "select * from 'MOUNT/absent.parquet'", 'BAD_INPUT'],
  ['a Parquet file that is none', "select * from 'MOUNT/fake.parquet'", 'BAD_INPUT'],
])('%s is refused in one line', (_name, query, code) => {
  writeFileSync(at('fake.parquet'), 'this is text\n');
  const done = catena('sql', query.replace('MOUNT', cluster.mount));
  expect(done.status).toBe(1);
  expect(done.stdout).toBe('');
  expect(done.stderr.trim().split('\n')).toHaveLength(1);
  expect(done.stderr).toContain(code);
});

test.each([1, 3, 16])(
  'a shuffle by origin into %i partitions gives what plain DuckDB gives',
  async (count) => {
    const query = (from: string): string =>
      `SELECT origin, count(*) AS flights, avg(delay) AS mean, quantile_cont(delay, 0.95) AS late FROM ${from} GROUP BY origin`;
    const session = await connect();
    try {
      const input = session.readParquet(at('flights/flights-3m.parquet'));
      const shuffled = input.repartition(count, { hashBy: 'origin' }).partialSql(query('{0}'));
      const partitions = input
        .repartition(count, { hashBy: 'origin' })
        .partialSql('SELECT count(*) AS rows, count(DISTINCT origin) AS origins FROM {0}');
      const rows = asText(
        (await shuffled.takeAll()).toSorted((a, b) => (String(a.origin) < String(b.origin) ? -1 : 1)),
      );
      expect(rows).toHaveLength(229);
      expect(rows).toEqual((await plainDuckDb(`${query(`'${flights}'`)} ORDER BY origin`)).rows);
      // It was a shuffle: each origin is in one partition, and the partitions share the rows.
      const shares = await partitions.takeAll();
      expect(shares).toHaveLength(count);
      expect(shares.reduce((sum, share) => sum + Number(share.origins), 0)).toBe(229);
      expect(shares.filter((share) => Number(share.rows) > 0).length).toBe(count);
    } finally {
      await session.close();
    }
  },
);

test('the main job gives the same three times, and writes its result to the mount', () => {
  const job = join(root, 'examples/dist/flights.js');
  const done = spawnSync(process.execPath, [job, at('flights/flights-3m.parquet')], { encoding: 'utf8' });
  expect(done.status, done.stdout + done.stderr).toBe(0);
  expect(done.stdout).toContain('all three results are equal');
  expect(existsSync(at('flights/flights-3m.parquet.by-origin'))).toBe(true);
  const written = readdirSync(at('flights/flights-3m.parquet.by-origin'));
  expect(written.some((name) => name.endsWith('.parquet'))).toBe(true);
  expect(written.some((name) => name.includes('staging'))).toBe(false);
});

test('without a mount the same job copies its input and says how much', () => {
  const job = join(root, 'examples/dist/flights-without-mount.js');
  // The first does not answer: of several managers any may be away.
  const managers = `127.0.0.1:1,127.0.0.1:${cluster.basePort}`;
  const done = spawnSync(process.execPath, [job, managers, flights], { encoding: 'utf8' });
  expect(done.status, done.stdout + done.stderr).toBe(0);
  expect(done.stdout).toContain('all three results are equal');
  expect(done.stdout).toMatch(/: [1-9]\d+ bytes to scratch, [1-9]\d+ bytes back/);
});

test('files go in and out without a mount, and the mount shows them', () => {
  const place = ['--dir', cluster.directory];
  expect(catena('fs', 'mkdir', '-p', '/sdk/deep', ...place).status).toBe(0);
  expect(catena('fs', 'put', flights, '/sdk/deep/f.parquet', ...place).status).toBe(0);
  const compared = spawnSync('cmp', [flights, at('sdk/deep/f.parquet')]);
  expect(compared.status).toBe(0);
  const odd = ['with space', 'ünïcode-日本', '-dash', '.dot', 'new\nline', `quote'"$(x)`];
  for (const name of odd) {
    expect(catena('fs', 'put', at('prices.csv'), `/sdk/${name}`, ...place).status, name).toBe(0);
    expect(catena('fs', 'cat', `/sdk/${name}`, ...place).stdout, name).toContain('apple,2');
    expect(existsSync(at(`sdk/${name}`)), name).toBe(true);
  }
  const listed = JSON.parse(catena('fs', 'ls', '/sdk', '--json', ...place).stdout) as { name: string }[];
  expect(listed.map((entry) => entry.name).sort()).toEqual(['deep', ...odd].sort());
  const lines = catena('fs', 'ls', '/sdk', ...place)
    .stdout.trimEnd()
    .split('\n');
  expect(lines).toHaveLength(odd.length + 1);
  expect(lines.some((line) => line.endsWith(' new\\012line'))).toBe(true);
  for (const name of odd) expect(catena('fs', 'rm', `/sdk/${name}`, ...place).status, name).toBe(0);
  expect(readdirSync(at('sdk'))).toEqual(['deep']);
  const directory = catena('fs', 'cat', '/sdk', ...place);
  expect([directory.status, directory.stdout]).toEqual([1, '']);
  expect(directory.stderr).toContain('IS_DIRECTORY');
  const missing = catena('fs', 'cat', '/sdk/absent', ...place);
  expect(missing.status).toBe(1);
  expect(missing.stderr).toContain('NOT_FOUND');
});
