// Delays of 3,000,000 flights by origin: as one query, as a job over all workers, and as plain DuckDB has it.
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { asText, connect, plainDuckDb, type SessionOptions, tableText } from '@catena/compute';

const query = (from: string) => `SELECT origin, count(*) AS flights, avg(delay) AS mean_delay,
  quantile_cont(delay, 0.95) AS late_95 FROM ${from} GROUP BY origin ORDER BY origin`;

async function timed<T>(what: string, run: Promise<T>): Promise<T> {
  const start = performance.now();
  return run.finally(() => console.log(`${what}: ${((performance.now() - start) / 1000).toFixed(2)} s`));
}

/** True if all results are equal. `local` is the input as a plain DuckDB on this machine can read it. */
export async function compareFlights(input: string, options: SessionOptions = {}, local = input) {
  const session = await connect(options);
  try {
    const flights = session.readParquet(input);
    const whole = await timed('session.sql', session.sql(query('flights'), { flights }).takeAll());
    const job = flights.repartition(8, { hashBy: 'origin' }).partialSql(query('{0}'));
    await timed('DataFrame job', job.writeParquet(`${input}.by-origin`, { overwrite: true }));
    for (const line of (await job.explain()).split('\n')) if (line.startsWith('copied')) console.log(line);
    const result = session.readParquet(`${input}.by-origin`);
    const written = await session.sql('SELECT * FROM result ORDER BY origin', { result }).takeAll();
    const plain = await plainDuckDb(query(`'${local.replaceAll("'", "''")}'`));
    const top = whole.toSorted((a, b) => Number(b.flights) - Number(a.flights)).slice(0, 10);
    console.log(`plain DuckDB: ${plain.seconds.toFixed(2)} s\n\n${tableText(plain.columns, top)}`);
    return isDeepStrictEqual(asText(whole), plain.rows) && isDeepStrictEqual(asText(written), plain.rows);
  } finally {
    await session.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const verdict = await compareFlights(process.argv[2] ?? 'mnt/flights-3m.parquet')
    .then((isEqual) => (isEqual ? 'all three results are equal' : 'THE RESULTS DIFFER'))
    .catch((error: Error) => error.message);
  console.log(verdict);
  process.exitCode = verdict.startsWith('all') ? 0 : 1;
}
