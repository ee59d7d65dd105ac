// A hash shuffle and group-by of generated rows over all workers, against one DuckDB process that does the
// group-by without a shuffle on the same cores and the same file. Workers run already; both sides are the
// best of the same number of rounds. Usage: node compute/dist/bench/shuffle.js [--rows N] [--partitions N]
// [--rounds N] [--directory DIR]; prints JSON.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Database } from '../engine/database.ts';
import { plainDuckDb } from '../engine/plain.ts';
import { quoteText } from '../engine/sql-text.ts';
import { asText } from '../session/run-sql.ts';
import { connect, type Session } from '../session/session.ts';

interface Settings {
  readonly rows: number;
  readonly partitions: number;
  readonly rounds: number;
  readonly directory: string;
}

const perGroup = (from: string): string =>
  `SELECT key, count(*) AS n, sum(number) AS total, avg(value) AS mean FROM ${from} GROUP BY key`;
const overGroups =
  'SELECT count(*)::BIGINT AS groups, sum(n)::BIGINT AS rows, sum(total)::HUGEINT AS total FROM';

async function generate(path: string, rows: number): Promise<void> {
  const database = await Database.open({
    threads: availableParallelism(),
    memoryBytes: 2 << 30,
    spillDirectory: tmpdir(),
  });
  const connection = await database.connect();
  // A tenth as many keys as rows, in no order.
  const select = `SELECT (hash(i) % ${Math.max(1, Math.floor(rows / 10))})::BIGINT AS key, i AS number,
    (i * 7 % 1000)::DOUBLE AS value FROM range(${rows}) t(i)`;
  await connection.run(`COPY (${select}) TO ${quoteText(path)} (FORMAT parquet)`, 'generating rows');
  connection.close();
  database.close();
}

async function shuffleOnce(session: Session, path: string, partitions: number): Promise<string> {
  const groups = session.readParquet(path).repartition(partitions, { hashBy: 'key' });
  const sums = groups.partialSql(`${overGroups} (${perGroup('{0}')})`);
  const rows = asText(await sums.takeAll());
  const total = [0, 1, 2].map((column) => rows.reduce((sum, row) => sum + BigInt(row[column] ?? '0'), 0n));
  return total.join();
}

/** Processor time of a process so far, of all its threads. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  // User and system time, in ticks of 10 ms on every Linux that Node runs on.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(settings: Settings, path: string) {
  const plain = await plainDuckDb(
    `${overGroups} (${perGroup(`read_parquet(${quoteText(path)})`)})`,
    availableParallelism(),
    settings.rounds,
  );
  const session = await connect({ scratchDirectory: join(tmpdir(), 'catena-bench-jobs') });
  try {
    await session.readParquet(path).filter('number < 0').count();
    const pids = [process.pid, ...(await session.workers()).map((worker) => worker.pid)];
    const cpuNow = (): number => pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
    const seconds: number[] = [];
    const cpuSeconds: number[] = [];
    let isEqual = true;
    for (let round = 0; round < settings.rounds; round++) {
      const startCpu = cpuNow();
      const startNs = process.hrtime.bigint();
      const total = await shuffleOnce(session, path, settings.partitions);
      seconds.push(Number(process.hrtime.bigint() - startNs) / 1e9);
      cpuSeconds.push(cpuNow() - startCpu);
      isEqual &&= total === plain.rows[0]?.join();
    }
    const best = Math.min(...seconds);
    return {
      name: 'shuffle',
      rows: settings.rows,
      partitions: settings.partitions,
      slots: availableParallelism(),
      fileBytes: statSync(path).size,
      directory: settings.directory,
      plainSeconds: plain.seconds,
      shuffleSeconds: best,
      allShuffleSeconds: seconds,
      ratio: best / plain.seconds,
      plainCpuSeconds: plain.cpuSeconds,
      shuffleCpuSeconds: Math.min(...cpuSeconds),
      cpuRatio: Math.min(...cpuSeconds) / plain.cpuSeconds,
      isEqual,
    };
  } finally {
    await session.close();
  }
}

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000000' },
    partitions: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '3' },
    directory: { type: 'string', default: tmpdir() },
  },
});
const directory = resolve(values.directory);
mkdirSync(directory, { recursive: true });
const work = mkdtempSync(join(directory, 'catena-shuffle-'));
try {
  const path = join(work, 'rows.parquet');
  await generate(path, Number(values.rows));
  const { partitions, rounds, rows } = values;
  const settings = { rows: Number(rows), partitions: Number(partitions), rounds: Number(rounds), directory };
  const result = await measure(settings, path);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = result.isEqual ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
