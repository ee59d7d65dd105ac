import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { asText, connect, plainDuckDb, type Row, type Session } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let scratch: Scratch;
let session: Session;
let events: string;
let people: string;

/** Rows in a canonical order, every value as text. */
const sorted = (rows: readonly (readonly (string | null)[])[]): string[] =>
  rows.map((row) => JSON.stringify(row)).sort();
const ours = (rows: readonly Row[]): string[] => sorted(asText(rows));
const answers = new Map<string, Promise<string[]>>();
/** Asked once for each query: a process of its own costs most of a second. */
const plain = async (query: string): Promise<string[]> => {
  const known = answers.get(query) ?? plainDuckDb(query).then(({ rows }) => sorted(rows));
  answers.set(query, known);
  return await known;
};

beforeAll(async () => {
  scratch = await makeScratch();
  events = await scratch.parquet(
    'events.parquet',
    `SELECT CASE WHEN i % 11 = 0 THEN NULL ELSE i * 7919 % 500 END AS person, i AS number,
       (i * 31 % 1000)::DECIMAL(18, 2) / 4 AS amount, 'kind ' || (i % 5) AS kind, repeat('x', 20) AS filler
     FROM range(30000) t(i)`,
  );
  people = await scratch.parquet(
    'people.parquet',
    `SELECT i::DOUBLE AS id, CASE WHEN i % 3 = 0 THEN NULL ELSE 'name ' || i END AS name
     FROM range(400) t(i) UNION ALL SELECT NULL, 'nobody'`,
  );
  session = await connect({ slots: 2, scratchDirectory: scratch.path('jobs'), memoryBytes: 1 << 30 });
});
afterAll(async () => {
  await session.close();
  expect(readdirSync(scratch.path('jobs'))).toEqual([]);
  scratch.remove();
});

describe('results are those of one DuckDB process', () => {
  const group = (from: string): string =>
    `SELECT person, kind, count(*) AS n, sum(number) AS total, sum(amount) AS money, avg(amount) AS mean,
       quantile_cont(number, 0.95) AS q FROM ${from} GROUP BY person, kind`;

  test.each([1, 3, 16, 64, 65, 200])('group-by, hashed into %i partitions', async (partitions) => {
    const frame = session.readParquet(events).repartition(partitions, { hashBy: ['person', 'kind'] });
    const result = frame.partialSql(group('{0}'));
    const expected = await plain(group(`'${events}'`));
    expect(expected.length).toBeGreaterThan(500);
    expect(ours(await result.takeAll())).toEqual(expected);
    expect(await result.count()).toBe(expected.length);
  });

  test.each([1, 3, 16])('join of keys of two types, %i partitions', async (partitions) => {
    const join = (left: string, right: string): string =>
      `SELECT e.person, p.name, count(*) AS n, sum(e.number) AS total
       FROM ${left} AS e LEFT JOIN ${right} AS p ON e.person = p.id GROUP BY ALL`;
    const left = session.readParquet(events).repartition(partitions, { hashBy: 'person' });
    const right = session.readParquet(people).repartition(partitions, { hashBy: 'id' });
    expect(ours(await left.partialSql(join('{0}', '{1}'), right).takeAll())).toEqual(
      await plain(join(`'${events}'`, `'${people}'`)),
    );
  });

  test('NULL keys meet too: IS NOT DISTINCT FROM finds them in one partition', async () => {
    const join = (left: string, right: string): string =>
      `SELECT p.name, count(*) AS n FROM ${left} AS e JOIN ${right} AS p ON e.person IS NOT DISTINCT FROM p.id
       WHERE p.name IS NOT NULL GROUP BY ALL`;
    const left = session.readParquet(events).repartition(7, { hashBy: 'person' });
    const right = session.readParquet(people).repartition(7, { hashBy: 'id' });
    const rows = await left.partialSql(join('{0}', '{1}'), right).takeAll();
    // Each partition groups by name alone, and a name is in one partition only.
    expect(ours(rows)).toEqual(await plain(join(`'${events}'`, `'${people}'`)));
    expect(rows.find((row) => row.name === 'nobody')?.n).toBe(BigInt(Math.ceil(30000 / 11)));
  });

  test('a whole query over frames, an aggregate of an aggregate, and a frame used twice', async () => {
    const query = (from: string): string =>
      `SELECT a.kind, max(a.n) AS most, count(b.n) AS pairs
       FROM ${from} AS a JOIN ${from} AS b USING (kind) GROUP BY a.kind`;
    const counts = session
      .readParquet(events)
      .repartition(5, { hashBy: 'kind' })
      .partialSql('SELECT kind, number % 10 AS digit, count(*) AS n FROM {0} GROUP BY ALL');
    const expected = await plain(
      `WITH counts AS (SELECT kind, number % 10 AS digit, count(*) AS n FROM '${events}' GROUP BY ALL)
       ${query('counts')}`,
    );
    expect(ours(await session.sql(query('counts'), { counts }).takeAll())).toEqual(expected);
    expect(
      ours(
        await counts
          .partialSql(query('{0}').replace('FROM {0} AS a JOIN {0}', 'FROM {0} AS a JOIN {1}'), counts)
          .takeAll(),
      ),
    ).toEqual(expected);
  });

  test('a second exchange behind the first, and types that Parquet cannot carry between them', async () => {
    const first =
      "SELECT person, sum(number) AS total, ('k' || any_value(kind)[-1:])::ENUM('k0','k1','k2','k3','k4') AS kind FROM";
    const second =
      'SELECT kind, sum(total) AS total, typeof(any_value(total)) AS t, typeof(any_value(kind)) AS e FROM';
    const frame = session
      .readParquet(events)
      .filter('person % 5 = 1 OR person IS NULL')
      .repartition(4, { hashBy: 'person' })
      .partialSql(`${first} {0} GROUP BY person, kind`)
      .repartition(3, { hashBy: 'kind' })
      .partialSql(`${second} {0} GROUP BY kind`);
    const inner = `${first} '${events}' WHERE person % 5 = 1 OR person IS NULL GROUP BY person, kind`;
    expect(ours(await frame.takeAll())).toEqual(await plain(`${second} (${inner}) GROUP BY kind`));
  });
});

describe('partitions', () => {
  const sizes = async (partitions: number, options: object): Promise<number[]> => {
    const frame = session.readParquet(events).repartition(partitions, options);
    const rows = await frame
      .partialSql('SELECT count(*) AS n, min(number) AS low, max(number) AS high FROM {0}')
      .takeAll();
    expect(rows).toHaveLength(partitions);
    return rows.map((row) => Number(row.n));
  };

  test('by rows are exactly even, though the file is one', async () => {
    expect(await sizes(7, { byRows: true })).toEqual([4286, 4286, 4286, 4286, 4286, 4285, 4285]);
  });

  test('by files cut one file between its row groups', async () => {
    const rows = await sizes(4, {});
    expect(rows.reduce((sum, n) => sum + n, 0)).toBe(30000);
    expect(rows.every((n) => n > 0 && (n % 2048 === 0 || n % 2048 === 30000 % 2048))).toBe(true);
    // Fewer row groups than partitions: the others are empty, and have the columns all the same.
    expect((await sizes(20, {})).filter((n) => n === 0)).toHaveLength(5);
  });

  test('by rows of a computed frame are exactly even too', async () => {
    const frame = session
      .readParquet(events)
      .repartition(3, { hashBy: 'number' })
      .partialSql('SELECT * FROM {0} WHERE number % 3 = 0');
    const counts = await frame
      .repartition(4, { byRows: true })
      .partialSql('SELECT count(*) AS n FROM {0}')
      .takeAll();
    expect(counts.map((row) => Number(row.n))).toEqual([2500, 2500, 2500, 2500]);
  });

  test('by a number that the rows carry', async () => {
    const frame = session.readParquet(events).repartition(5, { by: 'number % 5' });
    const rows = await frame
      .partialSql('SELECT any_value(number % 5) AS p, count(DISTINCT number % 5) AS d FROM {0}')
      .takeAll();
    expect(rows.map((row) => [Number(row.p), Number(row.d)])).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
      [3, 1],
      [4, 1],
    ]);
    const beyond = session.readParquet(events).repartition(4, { by: 'number % 5' });
    await expect(beyond.takeAll()).rejects.toThrow('partition key 4 is out of range 0-3');
  });

  test('an input with one partition goes to all, computed once', async () => {
    const kinds = session
      .readParquet(events)
      .partialSql("SELECT DISTINCT kind FROM {0} WHERE kind <> 'kind 0'");
    const frame = session.readParquet(events).repartition(3, { hashBy: 'number' });
    const joined = frame.partialSql('SELECT number FROM {0} JOIN {1} USING (kind)', kinds);
    expect(await joined.count()).toBe(24000);
    expect(await joined.explain()).toContain('stage broadcast input: 1 task');
  });
});

describe('what a frame gives', () => {
  test('count, take and order', async () => {
    const frame = session.readParquet(events);
    expect(await frame.count()).toBe(30000);
    expect(await frame.filter('number < 10').count()).toBe(10);
    expect((await frame.take(3)).map((row) => row.number)).toEqual([0n, 1n, 2n]);
    expect(await frame.take(0)).toEqual([]);
    const ordered = session.sql('SELECT number FROM e ORDER BY number DESC', { e: frame });
    expect((await ordered.take(2)).map((row) => row.number)).toEqual([29999n, 29998n]);
    const all = await ordered.takeAll();
    expect(all.every((row, index) => row.number === BigInt(29999 - index))).toBe(true);
  });

  test('nothing, with its columns', async () => {
    const frame = session.readParquet(events).filter('number < 0').repartition(3, { hashBy: 'kind' });
    expect(await frame.takeAll()).toEqual([]);
    const table = await frame.toArrow();
    expect([table.numRows, table.schema.fields.map((field) => field.name)]).toEqual([
      0,
      ['person', 'number', 'amount', 'kind', 'filler'],
    ]);
  });

  test('Arrow, with NULLs and exact values', async () => {
    const table = await session
      .sql(
        `SELECT * FROM (VALUES (1, 9007199254740993, 1.25::DECIMAL(9,2), 'a',
           TIMESTAMP '2001-02-03 04:05:06.789012', true, DATE '1969-12-31', 5::HUGEINT),
           (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)) AS t(i, b, d, s, ts, f, day, h)`,
      )
      .toArrow();
    expect(table.schema.fields.map((field) => String(field.type))).toEqual([
      'Int32',
      'Int64',
      'Decimal[9e+2]',
      'Utf8',
      'Timestamp<MICROSECOND>',
      'Bool',
      'Date32<DAY>',
      'Utf8',
    ]);
    expect(table.getChild('b')?.get(0)).toBe(9007199254740993n);
    expect(table.getChild('ts')?.data[0]?.values[0]).toBe(981173106789012n);
    expect(table.getChild('d')?.data[0]?.values[0]).toBe(125);
    expect(table.getChild('h')?.get(0)).toBe('5');
    expect(table.schema.fields.map((field) => table.getChild(field.name)?.get(1))).toEqual(
      Array(8).fill(null),
    );
  });

  test('the plan, what was pushed down, and what ran where', async () => {
    const frame = session
      .readParquet(events)
      .repartition(3, { hashBy: 'kind' })
      .partialSql('SELECT kind, count(*) AS n FROM {0} WHERE number >= 100 GROUP BY kind');
    await frame.takeAll();
    const text = await frame.explain();
    expect(text).toContain('columns read: number, kind (2 of 5)');
    expect(text).toContain('filter (number >= 100)');
    expect(text).toMatch(/repartition into 3 by hash of kind, one step\n.*columns carried: number, kind/);
    expect(text).toMatch(/task-0 exchange 1 by kind on slot-[01]\.\d+: \d+ rows, \d+\.\d{3} s, .* written/);
    expect(text).toContain('copied to scratch: nothing');
    const carried = [...text.matchAll(/exchange 1 by kind on [^:]+: (\d+) rows/g)].map((match) =>
      Number(match[1]),
    );
    expect(carried.reduce((sum, rows) => sum + rows, 0)).toBe(29900);
    const whole = session.sql('SELECT count(*) FROM e', { e: session.readParquet(events) });
    expect(await whole.explain()).toContain('query, run whole on one worker');
  });
});

describe('errors say what, where and what to do, before anything runs', () => {
  const bad = async (run: () => Promise<unknown>, code: string, text: RegExp): Promise<void> => {
    await expect(run()).rejects.toMatchObject({
      name: 'FsError',
      code,
      message: expect.stringMatching(text),
    });
  };

  test('files', async () => {
    await bad(
      () => session.readParquet(scratch.path('none*.parquet')).count(),
      'BAD_INPUT',
      /none\*\.parquet: no file matches/,
    );
    await bad(
      () => session.readParquet(scratch.path('none.parquet')).count(),
      'BAD_INPUT',
      /no file matches/,
    );
    await bad(
      () => session.readParquet(scratch.path('jobs')).count(),
      'BAD_INPUT',
      /no \*\.parquet file in this directory/,
    );
    await bad(() => session.readParquet('/etc/hostname').count(), 'BAD_INPUT', /\/etc\/hostname/);
    await bad(() => session.readParquet('/etc/passwd').count(), 'BAD_INPUT', /\/etc\/passwd/);
    await bad(
      () => session.sql("SELECT * FROM '/etc/passwd.parquet'").takeAll(),
      'BAD_INPUT',
      /passwd\.parquet/,
    );
  });

  test('queries', async () => {
    const frame = session.readParquet(events);
    await bad(() => session.sql('SELEC 1').takeAll(), 'BAD_QUERY', /SELEC/);
    await bad(() => session.sql('SELECT 1; SELECT 2').takeAll(), 'BAD_QUERY', /2 statements/);
    await bad(() => session.sql('CREATE TABLE t (i INTEGER)').takeAll(), 'BAD_QUERY', /only a SELECT/);
    await bad(() => session.sql('SELECT nothing FROM e', { e: frame }).takeAll(), 'BAD_QUERY', /nothing/);
    await bad(
      () => frame.partialSql('SELECT nothing FROM {0}').takeAll(),
      'BAD_QUERY',
      /partialSql.*"nothing" not found/,
    );
    await bad(() => frame.partialSql('SELECT * FROM {1}').takeAll(), 'BAD_QUERY', /\{1\} but 1 input given/);
    await bad(() => frame.partialSql('SELECT 1 AS a').takeAll(), 'BAD_QUERY', /input 0 is never used/);
    await bad(
      () => frame.partialSql('SELECT 1 AS a, 2 AS A FROM {0}').takeAll(),
      'BAD_QUERY',
      /two columns are named/,
    );
    await bad(() => frame.filter('nothing > 1').count(), 'BAD_QUERY', /filter "nothing > 1"/);
    await bad(
      () => frame.repartition(2, { hashBy: 'nothing' }).count(),
      'BAD_QUERY',
      /no column nothing; there are person/,
    );
    await bad(
      () => session.readParquet(events, { columns: ['nothing'] }).count(),
      'BAD_QUERY',
      /no column nothing/,
    );
  });

  test('partitions that do not belong together', async () => {
    const frame = session.readParquet(events);
    const left = frame.repartition(2, { hashBy: 'person' });
    const query = 'SELECT * FROM {0} AS l JOIN {1} AS r ON l.person = r.person';
    await bad(
      () => left.partialSql(query, frame.repartition(3, { hashBy: 'person' })).count(),
      'BAD_QUERY',
      /2 and 3 partitions/,
    );
    await bad(
      () => left.partialSql(query, frame.repartition(2)).count(),
      'BAD_QUERY',
      /divided by hash and another is not/,
    );
    await bad(
      () => left.partialSql(query, frame.repartition(2, { hashBy: ['person', 'kind'] })).count(),
      'BAD_QUERY',
      /same number of keys/,
    );
    await bad(
      () => left.partialSql(query, frame.repartition(2, { hashBy: 'kind' })).count(),
      'BAD_QUERY',
      /cannot be compared: BIGINT, VARCHAR/,
    );
    await bad(
      () => frame.repartition(5000, { hashBy: 'kind' }).takeAll(),
      'INVALID_ARGUMENT',
      /at most 4096/,
    );
    expect(() => frame.repartition(2, { hashBy: 'kind', byRows: true })).toThrow(/hashBy and byRows/);
  });

  test('a value that only a worker finds ends the job with its own error, and the session goes on', async () => {
    const frame = session.readParquet(events).repartition(4, { byRows: true });
    const failing = frame.partialSql(
      "SELECT CASE WHEN number = 20000 THEN error('number 20000 is wrong') END AS x FROM {0}",
    );
    await bad(() => failing.takeAll(), 'BAD_QUERY', /number 20000 is wrong/);
    expect(await frame.filter('number < 5').count()).toBe(5);
  });

  test('a cancelled run ends soon and leaves the session usable', async () => {
    const controller = new AbortController();
    const endless = session.sql(
      'SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 1',
    );
    const run = endless.takeAll({ signal: controller.signal });
    const timer = setTimeout(() => controller.abort(), 300);
    await bad(() => run, 'CANCELLED', /by the caller/);
    clearTimeout(timer);
    expect(await session.readParquet(events).filter('number < 5').count()).toBe(5);
  });

  test('a closed session, and a frame of another one', async () => {
    const other = await connect({ slots: 1, scratchDirectory: scratch.path('jobs') });
    const frame = other.readParquet(events);
    expect(() => session.sql('SELECT 1', { frame })).toThrow(/another session/);
    await other.close();
    await bad(() => frame.count(), 'INVALID_ARGUMENT', /closed/);
    expect(existsSync(join(scratch.path('jobs'), other.jobId))).toBe(false);
  });
});
