// One batch of effects as a record of the log: written for every batch, so by hand; read only at a restart.
import { FsError, message } from '@catena/core';
import { checkVersion } from './inode-codec.ts';
import { Writer } from './protobuf.ts';

export const logRecordVersion = 1;

export interface EncodedChange {
  readonly key: string;
  /** undefined: the record is deleted. */
  readonly value: Uint8Array | undefined;
}

const writer = new Writer(64 << 10);
/** A burst must not pin its memory for ever. */
const keptBytesMax = 1 << 20;

export function encodeLogRecord(epoch: bigint, number: bigint, changes: readonly EncodedChange[]): Buffer {
  writer.position = 0;
  writer.reserve(64);
  writer.uint32Field(8, logRecordVersion);
  writer.uint64Field(16, epoch);
  writer.uint64Field(24, number);
  for (const { key, value } of changes) {
    const keyBytes = 1 + varintBytes(key.length) + key.length;
    const valueBytes = value === undefined ? 0 : 1 + varintBytes(value.length) + value.length;
    writer.reserve(12 + keyBytes + valueBytes);
    writer.byte(34);
    writer.varint32(keyBytes + valueBytes);
    writer.byte(10);
    writer.varint32(key.length);
    writer.position += writer.buffer.write(key, writer.position, 'latin1');
    if (value !== undefined) writer.presentBytesField(18, value);
  }
  const record = writer.copy();
  if (writer.buffer.length > keptBytesMax) writer.buffer = Buffer.allocUnsafe(64 << 10);
  return record;
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
