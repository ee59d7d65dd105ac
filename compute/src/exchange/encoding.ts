// Types that Parquet cannot carry travel as types that it can, and come back as they were: HUGEINT (Parquet
// would make it a DOUBLE), INTERVAL, ENUM and so on. Both ways are SQL, so no value passes through
// JavaScript. Never lossy: a type that we cannot carry is refused by name.
import { FsError } from '@catena/core';
import type { QueryColumn } from '../engine/database.ts';
import { quoteName, quoteText } from '../engine/sql-text.ts';
import { carriageOf } from '../engine/types.ts';

export const encodings = ['plain', 'cast', 'halves', 'unsignedHalves', 'union'] as const;
/** How a column lies in a file: as it is; cast to a carrier; in two halves of 64 bit; a union as a struct. */
export type Encoding = (typeof encodings)[number];

export interface StoredColumn {
  readonly name: string;
  /** The type outside of files, as SQL writes it. */
  readonly type: string;
  readonly encoding: Encoding;
  /** The names of a union's members. */
  readonly members: readonly string[];
}

const two64 = '18446744073709551616';
const lowMask = '18446744073709551615';

export interface EncodedColumn {
  readonly stored: StoredColumn;
  /** The select item that writes the column into a file. */
  readonly sql: string;
}

export function encodeColumn(column: QueryColumn): EncodedColumn {
  const name = quoteName(column.name);
  const carriage = carriageOf(column.shape);
  const make = (encoding: Encoding, value: string, members: readonly string[] = []): EncodedColumn => ({
    stored: { name: column.name, type: column.type, encoding, members },
    sql: encoding === 'plain' ? name : `${value} AS ${name}`,
  });
  switch (carriage.kind) {
    case 'plain':
      return make('plain', name);
    case 'cast':
      return make('cast', `CAST(${name} AS ${carriage.carrier})`);
    case 'halves': {
      const type = carriage.signed ? 'HUGEINT' : 'UHUGEINT';
      const low = carriage.signed ? `(${name} & ${lowMask}::${type})` : `(${name} % ${two64}::${type})`;
      const high = `((${name} - ${low}) // ${two64}::${type})::${carriage.signed ? 'BIGINT' : 'UBIGINT'}`;
      const value = ifNotNull(name, `{'high': ${high}, 'low': ${low}::UBIGINT}`);
      return make(carriage.signed ? 'halves' : 'unsignedHalves', value);
    }
    case 'union': {
      const fields = carriage.members.map(
        (member, index) => `'member${index}': union_extract(${name}, ${quoteText(member)})`,
      );
      const value = `{'tag': union_tag(${name})::VARCHAR, ${fields.join(', ')}}`;
      return make('union', ifNotNull(name, value), carriage.members);
    }
    case 'impossible':
      throw new FsError(
        'NOT_SUPPORTED',
        `column ${column.name} of type ${column.type} between tasks: ${carriage.why}`,
      );
  }
}

/**
 * The select item that writes a column for people: the same, but that huge integers become DECIMAL(38,0),
 * which other
 * programs read; a number of more than 38 digits is an error, never a rounded value.
 */
export function resultSql(column: QueryColumn): string {
  if (carriageOf(column.shape).kind !== 'halves') return encodeColumn(column).sql;
  return `CAST(${quoteName(column.name)} AS DECIMAL(38, 0)) AS ${quoteName(column.name)}`;
}

/** The select item that reads the column back with its own type. */
export function decodeSql(column: StoredColumn): string {
  const name = quoteName(column.name);
  switch (column.encoding) {
    case 'plain':
      return name;
    case 'cast':
      return `CAST(${name} AS ${column.type}) AS ${name}`;
    case 'halves': {
      // The smallest number has no positive twin, so a negative high half is raised before it is shifted.
      const high = `${name}.high::HUGEINT`;
      const shift = `${two64}::HUGEINT`;
      const negative = `(${high} + 1) * ${shift} - ${shift}`;
      const base = `CASE WHEN ${high} < 0 THEN ${negative} ELSE ${high} * ${shift} END`;
      return `(${base} + ${name}.low::HUGEINT) AS ${name}`;
    }
    case 'unsignedHalves':
      return `(${name}.high::UHUGEINT * ${two64}::UHUGEINT + ${name}.low::UHUGEINT) AS ${name}`;
    case 'union': {
      const branches = column.members.map((member, index) => {
        const value = `union_value(${quoteName(member)} := ${name}.member${index})`;
        return `WHEN ${quoteText(member)} THEN ${value}::${column.type}`;
      });
      return `CASE ${name}.tag ${branches.join(' ')} ELSE NULL END AS ${name}`;
    }
  }
}

function ifNotNull(name: string, value: string): string {
  return `CASE WHEN ${name} IS NULL THEN NULL ELSE ${value} END`;
}

/** A relation of these columns and no rows. */
export function emptySql(columns: readonly StoredColumn[]): string {
  const items = columns.map((column) => `CAST(NULL AS ${column.type}) AS ${quoteName(column.name)}`);
  return `SELECT ${items.join(', ')} WHERE false`;
}
