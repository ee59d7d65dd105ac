import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { asText, connect, DirectoryTransfer, type Session } from '../index.ts';
import { makeScratch, type Scratch } from '../testing/scratch.ts';

// Many processes on a busy machine: only a hang may fail here.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let scratch: Scratch;
let input: string;
beforeAll(async () => {
  scratch = await makeScratch();
  mkdirSync(scratch.path('data/deep'), { recursive: true });
  const query = "SELECT i AS number, 'kind ' || (i % 5) AS kind FROM range(10000) t(i)";
  input = await scratch.parquet('data/input.parquet', query);
  await scratch.parquet('data/deep/more.parquet', query);
});
afterAll(() => scratch.remove());

const rootEntries = (): string[] => readdirSync(scratch.path('data')).sort();

/** The same promises for a path of this machine and for files behind a FileTransfer. */
describe.each(['a path', 'a FileTransfer'])('writeParquet to %s', (kind) => {
  let session: Session;
  const at = (name: string): string => (kind === 'a path' ? scratch.path(`data/${name}`) : `/data/${name}`);
  const local = (name: string): string => scratch.path(`data/${name}`);
  beforeAll(async () => {
    const files = kind === 'a path' ? {} : { files: new DirectoryTransfer(scratch.directory) };
    session = await connect({
      slots: 2,
      scratchDirectory: scratch.path('jobs'),
      memoryBytes: 1 << 30,
      ...files,
    });
  });
  afterAll(() => session.close());

  test('makes a directory of files in order, with a manifest, and nothing else', async () => {
    const frame = session.readParquet(at('input.parquet')).repartition(3, { byRows: true });
    const name = `out-${kind.length}`;
    const written = await frame.writeParquet(at(name));
    expect(written).toMatchObject({
      rows: 10000,
      files: ['part-00000.parquet', 'part-00001.parquet', 'part-00002.parquet'],
    });
    expect(readdirSync(local(name)).sort()).toEqual(['.manifest.json', ...written.files]);
    const manifest = JSON.parse(readFileSync(join(local(name), '.manifest.json'), 'utf8')) as {
      rows: number;
    };
    expect(manifest.rows).toBe(10000);
    const back = session.readParquet(at(name));
    expect((await back.take(1))[0]?.number).toBe(0n);
    expect(
      asText(await session.sql('SELECT count(*), sum(number), min(number) FROM b', { b: back }).takeAll()),
    ).toEqual([['10000', '49995000', '0']]);
    expect(rootEntries().filter((entry) => entry.startsWith('.'))).toEqual([]);
    expect(
      readdirSync(join(scratch.path('jobs'), session.jobId)).filter((entry) => entry.startsWith('run')),
    ).toEqual([]);
  });

  test('refuses an existing result, unless it is told to replace it', async () => {
    const frame = session.readParquet(at('input.parquet'));
    const name = `twice-${kind.length}`;
    await frame.writeParquet(at(name));
    await expect(frame.writeParquet(at(name))).rejects.toMatchObject({ code: 'EXISTS' });
    const less = frame.filter('number < 10').repartition(2);
    expect((await less.writeParquet(at(name), { overwrite: true })).rows).toBe(10);
    expect(
      await session
        .readParquet(at(name), { columns: ['number'] })
        .filter('true')
        .count(),
    ).toBe(10);
    await expect(frame.writeParquet(at('missing/out'))).rejects.toThrow(/directory .*missing does not exist/);
    await expect(frame.writeParquet(at('input.parquet'))).rejects.toMatchObject({ code: 'EXISTS' });
    expect(rootEntries().filter((entry) => entry.startsWith('.'))).toEqual([]);
  });

  test('leaves nothing of a job that failed, and what was there before', async () => {
    const frame = session.readParquet(at('input.parquet')).repartition(4, { byRows: true });
    const failing = frame.partialSql(
      "SELECT CASE WHEN number = 9000 THEN error('wrong') ELSE number END AS n FROM {0}",
    );
    const name = `kept-${kind.length}`;
    await frame.writeParquet(at(name));
    const before = rootEntries();
    await expect(failing.writeParquet(at(name), { overwrite: true })).rejects.toThrow('wrong');
    await expect(failing.writeParquet(at(`new-${kind.length}`))).rejects.toThrow('wrong');
    expect(rootEntries()).toEqual(before);
    expect(await session.readParquet(at(name)).filter('true').count()).toBe(10000);
  });

  test('reads patterns and directories, hidden files apart', async () => {
    expect(await session.readParquet(at('*.parquet')).count()).toBe(10000);
    expect(await session.readParquet(at('**/*.parquet')).filter('number >= 0').count()).toBeGreaterThan(
      20000 - 1,
    );
    expect(await session.readParquet([at('deep'), at('input.parquet')]).count()).toBe(20000);
    expect(await session.readParquet(at('deep/../deep'), { recursive: true }).count()).toBe(10000);
    writeFileSync(local('deep/.hidden.parquet'), 'no parquet');
    expect(await session.readParquet(at('deep')).count()).toBe(10000);
    await expect(session.readParquet(at('nothing*')).count()).rejects.toMatchObject({ code: 'BAD_INPUT' });
  });

  test('an empty result is files with columns and no rows', async () => {
    const name = `empty-${kind.length}`;
    const frame = session
      .readParquet(at('input.parquet'))
      .filter('number < 0')
      .repartition(2, { hashBy: 'kind' });
    expect(await frame.writeParquet(at(name))).toMatchObject({
      rows: 0,
      files: ['part-00000.parquet', 'part-00001.parquet'],
    });
    expect(await session.readParquet(at(name), { columns: ['kind'] }).takeAll()).toEqual([]);
  });
});

test('explain counts the bytes that were copied, each input once', async () => {
  const files = new DirectoryTransfer(scratch.directory);
  const session = await connect({ slots: 1, scratchDirectory: scratch.path('jobs'), files });
  try {
    const frame = session.readParquet('/data/input.parquet').repartition(2, { hashBy: 'kind' });
    const written = await frame.writeParquet('/data/counted');
    const { size } = await import('node:fs').then(({ statSync }) => statSync(input));
    expect(written.bytesCopied).toBeGreaterThan(written.bytes);
    expect(await frame.explain()).toContain(
      `copied through directory ${scratch.directory}: ${size} bytes to scratch, ${written.bytesCopied} bytes back`,
    );
    await frame.count();
    expect(await frame.explain()).toContain(`${size} bytes to scratch`);
  } finally {
    await session.close();
  }
});
