// One batch of effects as a record of the log: written for every batch, so by hand; read only at a restart.
import { FsError, message } from '@catena/core';
import { checkVersion } from './inode-codec.ts';
import type { Change } from './overlay.ts';
import { Writer } from './protobuf.ts';

export const logRecordVersion = 1;

/** A batch as it stands in the log; the store takes its values from there. */
export interface EncodedBatch {
  readonly record: Buffer;
  readonly keys: readonly string[];
  /** Where the value of each key stands in `record`: start and end; -1 twice where the key goes. */
  readonly places: readonly number[];
}

const writer = new Writer(64 << 10);
const valueWriter = new Writer(4096);
/** A burst must not pin its memory for ever. */
const keptBytesMax = 1 << 20;
const absent = -1;

export function encodeLogRecord(
  epoch: bigint,
  number: bigint,
  changes: ReadonlyMap<string, Change>,
): EncodedBatch {
  const keys: string[] = [];
  const places: number[] = [];
  writer.position = 0;
  writer.reserve(64);
  writer.uint32Field(8, logRecordVersion);
  writer.uint64Field(16, epoch);
  writer.uint64Field(24, number);
  for (const [key, { table, value }] of changes) {
    keys.push(key);
    const keyField = 1 + varintBytes(key.length) + key.length;
    if (value === undefined) {
      writer.reserve(12 + keyField);
      writer.byte(34);
      writer.varint32(keyField);
      writer.latin1Field(10, key);
      places.push(absent, absent);
      continue;
    }
    valueWriter.position = 0;
    table.write(valueWriter, value);
    const valueBytes = valueWriter.position;
    writer.reserve(24 + keyField + valueBytes);
    writer.byte(34);
    writer.varint32(keyField + 1 + varintBytes(valueBytes) + valueBytes);
    writer.latin1Field(10, key);
    writer.writerField(18, valueWriter);
    places.push(writer.position - valueBytes, writer.position);
  }
  const record = writer.copy();
  if (writer.buffer.length > keptBytesMax) writer.buffer = Buffer.allocUnsafe(64 << 10);
  return { record, keys, places };
}

/** The value of the key at `index`; undefined: the key goes. */
export function valueAt(batch: EncodedBatch, index: number): Buffer | undefined {
  const start = batch.places[2 * index]!;
  return start === absent ? undefined : batch.record.subarray(start, batch.places[2 * index + 1]!);
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}

export function decodeLogRecord(body: Uint8Array): message.LogRecord {
  let record: message.LogRecord;
  try {
    record = message.LogRecord.decode(body);
  } catch (error) {
    throw new FsError('CORRUPT', `a record of the metadata log: ${String(error)}`, { cause: error });
  }
  checkVersion('log record', record.recordVersion, logRecordVersion);
  return record;
}
