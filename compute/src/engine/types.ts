// What a type needs so that Parquet can carry it without loss. Decided on DuckDB's structured types, not on
// their text.
import { type DuckDBType, DuckDBTypeId } from '@duckdb/node-api';
import { quoteName } from './sql-text.ts';

export type Carriage =
  | { readonly kind: 'plain' }
  /** Carried as this other type; a CAST there and back loses nothing. */
  | { readonly kind: 'cast'; readonly carrier: string }
  | { readonly kind: 'halves'; readonly signed: boolean }
  | { readonly kind: 'union'; readonly members: readonly string[] }
  | { readonly kind: 'impossible'; readonly why: string };

const plain: Carriage = { kind: 'plain' };

/** Types that Parquet would change, and that lose nothing as text. */
const asText: ReadonlySet<DuckDBTypeId> = new Set([
  DuckDBTypeId.HUGEINT,
  DuckDBTypeId.UHUGEINT,
  DuckDBTypeId.BIGNUM,
  DuckDBTypeId.INTERVAL,
  DuckDBTypeId.TIME_TZ,
  DuckDBTypeId.TIME_NS,
  DuckDBTypeId.BIT,
  DuckDBTypeId.ENUM,
]);
/** Types that come back as another one, and are right again after a CAST. */
const asTimestamp: ReadonlySet<DuckDBTypeId> = new Set([DuckDBTypeId.TIMESTAMP_S, DuckDBTypeId.TIMESTAMP_MS]);

export function carriageOf(type: DuckDBType): Carriage {
  if (type.typeId === DuckDBTypeId.HUGEINT) return { kind: 'halves', signed: true };
  if (type.typeId === DuckDBTypeId.UHUGEINT) return { kind: 'halves', signed: false };
  if (type.typeId === DuckDBTypeId.UNION) {
    const changed = type.memberTypes.some((member) => carriageOf(member).kind !== 'plain');
    if (changed) return { kind: 'impossible', why: 'a UNION with such a member; cast the column first' };
    return { kind: 'union', members: type.memberTags };
  }
  try {
    const carrier = carrierText(type);
    return carrier === undefined ? plain : { kind: 'cast', carrier };
  } catch (error) {
    if (error instanceof NoCarrier) return { kind: 'impossible', why: error.message };
    throw error;
  }
}

class NoCarrier extends Error {}

/** The type to write instead, as SQL; undefined if the type goes as it is. */
function carrierText(type: DuckDBType): string | undefined {
  if (asText.has(type.typeId)) return 'VARCHAR';
  if (asTimestamp.has(type.typeId)) return 'TIMESTAMP';
  switch (type.typeId) {
    case DuckDBTypeId.GEOMETRY:
      // Parquet adds a coordinate system to the type.
      return 'GEOMETRY';
    case DuckDBTypeId.LIST: {
      const value = carrierText(type.valueType);
      return value === undefined ? undefined : `${value}[]`;
    }
    case DuckDBTypeId.ARRAY:
      return `${carrierText(type.valueType) ?? type.valueType.toString()}[]`;
    case DuckDBTypeId.MAP: {
      const key = carrierText(type.keyType);
      const value = carrierText(type.valueType);
      if (key === undefined && value === undefined) return undefined;
      return `MAP(${key ?? type.keyType.toString()}, ${value ?? type.valueType.toString()})`;
    }
    case DuckDBTypeId.STRUCT: {
      const carriers = type.entryTypes.map(carrierText);
      if (carriers.every((carrier) => carrier === undefined)) return undefined;
      if (type.entryNames.some((name) => name === '')) {
        throw new NoCarrier('a STRUCT without names with such a field; name its fields');
      }
      const fields = type.entryNames.map(
        (name, index) => `${quoteName(name)} ${carriers[index] ?? type.entryTypes[index]!.toString()}`,
      );
      return `STRUCT(${fields.join(', ')})`;
    }
    case DuckDBTypeId.UNION:
      throw new NoCarrier('a UNION inside of another type; cast the column first');
    default:
      return undefined;
  }
}
