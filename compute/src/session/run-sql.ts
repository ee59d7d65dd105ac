// One query from the command line: a session for it alone, its rows, and a table for the terminal.
import type { Row, Value } from '../engine/database.ts';
import type { SessionOptions } from './job.ts';
import { Session } from './session.ts';

export interface RunSqlOptions extends SessionOptions {
  /** Rows kept for the answer; a terminal shows no more. */
  readonly rowsMax?: number;
}

export interface SqlAnswer {
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  /** There were more rows than `rowsMax`. */
  readonly isCut: boolean;
  readonly explain: string;
}

const rowsMaxDefault = 10_000;

export async function runSql(query: string, options: RunSqlOptions = {}): Promise<SqlAnswer> {
  const { rowsMax = rowsMaxDefault, ...session } = options;
  // Workers start after the query has been understood.
  const opened = new Session({ slots: 1, ...session });
  try {
    const frame = opened.sql(query);
    const { columns, rows } = await frame.toText(rowsMax + 1);
    const explain = await frame.explain();
    return { columns, rows: rows.slice(0, rowsMax), isCut: rows.length > rowsMax, explain };
  } finally {
    await opened.close();
  }
}

/** Every value as text, to compare results exactly; NULL stays null. */
export function asText(rows: readonly Row[]): (string | null)[][] {
  return rows.map((row) => Object.values(row).map((value) => (value === null ? null : String(value))));
}

/** Longer values are cut in the table, and whole in JSON. */
const cellCharsMax = 60;

export function tableText(columns: readonly string[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => cellText(row[column])));
  const isNumber = columns.map((column) =>
    rows.every((row) => row[column] === null || ['number', 'bigint'].includes(typeof row[column])),
  );
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((line) => line[index]!.length)),
  );
  const line = (texts: readonly string[], numbers: readonly boolean[]): string =>
    texts
      .map((text, index) =>
        numbers[index] === true ? text.padStart(widths[index]!) : text.padEnd(widths[index]!),
      )
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [line(columns, isNumber), rule, ...cells.map((texts) => line(texts, isNumber)), ''].join('\n');
}

function cellText(value: Value | undefined): string {
  const text = value === null || value === undefined ? 'NULL' : String(value);
  const line = text.replace(/[\r\n\t]+/g, ' ');
  return line.length <= cellCharsMax ? line : `${line.slice(0, cellCharsMax - 1)}…`;
}
