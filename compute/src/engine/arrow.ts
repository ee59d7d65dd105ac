// DuckDB's chunks as an Apache Arrow table. Fixed-width types go bit for bit; a type that Arrow has no equal
// of becomes text, with its DuckDB type in the field's metadata. Only at the API's edge: between tasks
// nothing is Arrow.
import { type DuckDBType, DuckDBTypeId, type DuckDBValue } from '@duckdb/node-api';
import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  makeData,
  makeVector,
  Schema,
  Struct,
  Table,
  TimestampMicrosecond,
  TimestampNanosecond,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import type { Chunk, QueryColumn } from './database.ts';

type Words =
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | Float32Array
  | Float64Array;
type WideWords = BigInt64Array | BigUint64Array;

interface Mapping {
  readonly type: DataType;
  make(values: readonly DuckDBValue[]): Vector;
}

function numbers(
  type: DataType,
  make: (length: number) => Words,
  of: (value: DuckDBValue) => number,
): Mapping {
  return {
    type,
    make(values) {
      const data = make(values.length);
      values.forEach((value, index) => {
        if (value !== null) data[index] = of(value);
      });
      return fixedWidth(type, values, data);
    },
  };
}

function wide(
  type: DataType,
  make: (length: number) => WideWords,
  of: (value: DuckDBValue) => bigint,
): Mapping {
  return {
    type,
    make(values) {
      const data = make(values.length);
      values.forEach((value, index) => {
        if (value !== null) data[index] = of(value);
      });
      return fixedWidth(type, values, data);
    },
  };
}

function fixedWidth(type: DataType, values: readonly DuckDBValue[], data: ArrayBufferView): Vector {
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 8));
  let nullCount = 0;
  values.forEach((value, index) => {
    if (value === null) nullCount++;
    else nullBitmap[index >> 3]! |= 1 << (index & 7);
  });
  return makeVector(
    makeData({ type, length: values.length, nullCount, nullBitmap, data } as never),
  ) as Vector;
}

function listed(type: DataType, of: (value: DuckDBValue) => unknown): Mapping {
  const make = (values: readonly DuckDBValue[]): Vector =>
    vectorFromArray(
      values.map((value) => (value === null ? null : of(value))),
      type,
    ) as Vector;
  return { type, make };
}

const decimalWidth = 128;

function decimals(scale: number, precision: number): Mapping {
  const type = new Decimal(scale, precision, decimalWidth);
  return {
    type,
    make(values) {
      const data = new Uint32Array(values.length * 4);
      values.forEach((value, index) => {
        if (value === null) return;
        let rest = BigInt.asUintN(decimalWidth, (value as { value: bigint }).value);
        for (let word = 0; word < 4; word++, rest >>= 32n)
          data[index * 4 + word] = Number(rest & 0xffffffffn);
      });
      return fixedWidth(type, values, data);
    },
  };
}

const asNumber = (value: DuckDBValue): number => value as number;
const asBigint = (value: DuckDBValue): bigint => value as bigint;
const micros = (value: DuckDBValue): bigint => (value as { micros: bigint }).micros;
const text = listed(new Utf8(), String);

function mappingOf(type: DuckDBType): Mapping {
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return listed(new Bool(), (value) => value);
    case DuckDBTypeId.TINYINT:
      return numbers(new Int8(), (length) => new Int8Array(length), asNumber);
    case DuckDBTypeId.SMALLINT:
      return numbers(new Int16(), (length) => new Int16Array(length), asNumber);
    case DuckDBTypeId.INTEGER:
      return numbers(new Int32(), (length) => new Int32Array(length), asNumber);
    case DuckDBTypeId.BIGINT:
      return wide(new Int64(), (length) => new BigInt64Array(length), asBigint);
    case DuckDBTypeId.UTINYINT:
      return numbers(new Uint8(), (length) => new Uint8Array(length), asNumber);
    case DuckDBTypeId.USMALLINT:
      return numbers(new Uint16(), (length) => new Uint16Array(length), asNumber);
    case DuckDBTypeId.UINTEGER:
      return numbers(new Uint32(), (length) => new Uint32Array(length), asNumber);
    case DuckDBTypeId.UBIGINT:
      return wide(new Uint64(), (length) => new BigUint64Array(length), asBigint);
    case DuckDBTypeId.FLOAT:
      return numbers(new Float32(), (length) => new Float32Array(length), asNumber);
    case DuckDBTypeId.DOUBLE:
      return numbers(new Float64(), (length) => new Float64Array(length), asNumber);
    case DuckDBTypeId.DATE:
      return numbers(
        new DateDay(),
        (length) => new Int32Array(length),
        (value) => (value as { days: number }).days,
      );
    case DuckDBTypeId.TIMESTAMP:
      return wide(new TimestampMicrosecond(), (length) => new BigInt64Array(length), micros);
    case DuckDBTypeId.TIMESTAMP_TZ:
      return wide(new TimestampMicrosecond('UTC'), (length) => new BigInt64Array(length), micros);
    case DuckDBTypeId.TIMESTAMP_NS:
      return wide(
        new TimestampNanosecond(),
        (length) => new BigInt64Array(length),
        (value) => (value as { nanos: bigint }).nanos,
      );
    case DuckDBTypeId.DECIMAL:
      return decimals(type.scale, type.width);
    case DuckDBTypeId.BLOB:
      return listed(new Binary(), (value) => (value as { bytes: Uint8Array }).bytes);
    default:
      return text;
  }
}

export function arrowTable(columns: readonly QueryColumn[], chunks: readonly Chunk[]): Table {
  const mappings = columns.map((column) => mappingOf(column.shape));
  const fields = columns.map(
    ({ name, type }, index) => new Field(name, mappings[index]!.type, true, new Map([['duckdb.type', type]])),
  );
  const values: DuckDBValue[][] = columns.map(() => []);
  for (const chunk of chunks) {
    chunk.getColumns().forEach((part, index) => {
      for (const value of part) values[index]!.push(value);
    });
  }
  const vectors = values.map((part, index) => mappings[index]!.make(part));
  const length = values[0]?.length ?? 0;
  const children = vectors.map((vector) => vector.data[0]!);
  const schema = new Schema(fields);
  return new Table(
    schema,
    makeData({ type: new Struct(fields), length, nullCount: 0, children } as never) as never,
  );
}
