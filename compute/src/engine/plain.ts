// DuckDB and nothing else, in a process of its own: what every result of ours is compared with, in speed and
// in value.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bootMsFromProc, realClock } from '@catena/core';
import { DuckDBInstance } from '@duckdb/node-api';

export interface PlainAnswer {
  readonly columns: readonly string[];
  /** Every value as text; NULL stays null. */
  readonly rows: readonly (readonly (string | null)[])[];
  /** Of the query alone, without the start of the process. */
  readonly seconds: number;
  /** Of all threads. */
  readonly cpuSeconds: number;
}

/** Answers may be as large as a test's result; beyond this write to a file. */
const answerBytesMax = 256 << 20;
const isSource = import.meta.url.endsWith('.ts');
const self = fileURLToPath(import.meta.url);
const sourceArguments = isSource
  ? ['--conditions=source', '--import', new URL('../testing/strip-types.mjs', import.meta.url).href]
  : [];

/** `repeat` runs it so often in that process; the seconds are the least. */
export async function plainDuckDb(query: string, threads = 0, repeat = 1): Promise<PlainAnswer> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...sourceArguments, self, query, String(threads), String(repeat)],
    { maxBuffer: answerBytesMax, env: { ...process.env, NODE_OPTIONS: '' } },
  );
  return JSON.parse(stdout) as PlainAnswer;
}

async function answer(query: string, threads: number, repeat: number): Promise<PlainAnswer> {
  const instance = await DuckDBInstance.create(':memory:', threads > 0 ? { threads: String(threads) } : {});
  const connection = await instance.connect();
  const clock = realClock(bootMsFromProc);
  let seconds = Number.POSITIVE_INFINITY;
  let cpuSeconds = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    const startNs = clock.wallNs();
    const startCpu = process.cpuUsage();
    const result = await connection.runAndReadAll(query);
    seconds = Math.min(seconds, Number(clock.wallNs() - startNs) / 1e9);
    const { user, system } = process.cpuUsage(startCpu);
    cpuSeconds = Math.min(cpuSeconds, (user + system) / 1e6);
    if (round < repeat - 1) continue;
    const rows = result.getRows().map((row) => row.map((value) => (value === null ? null : String(value))));
    return { columns: result.columnNames(), rows, seconds, cpuSeconds };
  }
}

if (process.argv[1] === self) {
  const [query = '', threads, repeat] = process.argv.slice(2);
  process.stdout.write(JSON.stringify(await answer(query, Number(threads), Number(repeat))));
}
