// catena sql: one query over files, on the mount or elsewhere, printed as a table.
import { FsError } from '@catena/core';
import type { Command } from 'commander';
import { wholeNumber } from './options.ts';

export function addSql(program: Command): void {
  program
    .command('sql')
    .description("run a query over Parquet, CSV or JSON files: select count(*) from 'mnt/flights/*.parquet'")
    .argument('<query>', 'the query; file names in single quotes')
    .option('--json', 'print JSON, one object a row')
    .option('--explain', 'print what ran where')
    .option('--rows <n>', 'print at most so many rows', wholeNumber(1, 10_000_000), 1_000)
    .action(async (query: string, options: { json?: true; explain?: true; rows: number }) => {
      // Loading DuckDB takes most of a second of CPU, which the other commands need not pay.
      const { jsonRows, runSql, tableText } = await import('@catena/compute');
      const answer = await runSql(query, { rowsMax: options.rows });
      if (options.json === true) console.log(JSON.stringify(jsonRows(answer.rows), undefined, 2));
      else console.log(tableText(answer.columns, answer.rows));
      if (options.explain === true) console.log(answer.explain);
      if (answer.isCut) {
        const detail = `there are more than ${options.rows} rows; say --rows N, or limit the query`;
        console.error(`catena: ${detail}`);
      }
      if (answer.columns.length === 0) throw new FsError('BAD_QUERY', 'the query gives no columns');
    });
}
