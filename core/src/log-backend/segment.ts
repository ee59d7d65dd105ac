// One file of the local log and its bytes. Little-endian:
//   file header: magic 8 · first number u64 · number before it u64 · epoch u64 · CRC-32 of the 32 bytes · 0
//   u32
//   record:      CRC-32 of all that follows u32 · body bytes u32 · number u64 · epoch u64 · body
// The header names the last number of the file before, so that a lost file or a lost tail is noticed.
// Scanning stops at the first byte that is not right: everything after it was never promised.
import { crc32 } from 'node:zlib';
import type { LogRecord } from './append-log.ts';
import { logRecordBytesMax } from './append-log.ts';

const magic = 0x31474f4c54414358n; // also the version of this format
export const segmentHeaderBytes = 40;
export const recordHeaderBytes = 24;

export interface SegmentHeader {
  readonly first: bigint;
  readonly previous: bigint;
  readonly epoch: bigint;
}

export function segmentName(first: bigint, epoch: bigint): string {
  return `log-${first.toString().padStart(20, '0')}-${epoch.toString().padStart(10, '0')}.seg`;
}

export const segmentNamePattern = /^log-\d{20}-\d{10,}\.seg$/;

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  bytes.writeBigUInt64LE(magic, 0);
  bytes.writeBigUInt64LE(header.first, 8);
  bytes.writeBigUInt64LE(header.previous, 16);
  bytes.writeBigUInt64LE(header.epoch, 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 32)), 32);
  return bytes;
}

export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderBytes || bytes.readBigUInt64LE(0) !== magic) return undefined;
  if (crc32(bytes.subarray(0, 32)) !== bytes.readUInt32LE(32) || bytes.readUInt32LE(36) !== 0)
    return undefined;
  return {
    first: bytes.readBigUInt64LE(8),
    previous: bytes.readBigUInt64LE(16),
    epoch: bytes.readBigUInt64LE(24),
  };
}

/** The records of one append, back to back. */
export function encodeRecords(bodies: readonly Uint8Array[], firstNumber: bigint, epoch: bigint): Buffer {
  const total = bodies.reduce((sum, body) => sum + recordHeaderBytes + body.length, 0);
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  let number = firstNumber;
  for (const body of bodies) {
    const end = at + recordHeaderBytes + body.length;
    bytes.writeUInt32LE(body.length, at + 4);
    bytes.writeBigUInt64LE(number++, at + 8);
    bytes.writeBigUInt64LE(epoch, at + 16);
    bytes.set(body, at + recordHeaderBytes);
    bytes.writeUInt32LE(crc32(bytes.subarray(at + 4, end)), at);
    at = end;
  }
  return bytes;
}

export interface SegmentScan {
  readonly header: SegmentHeader;
  readonly last: bigint; // number of the last good record, or that before the first
  readonly goodBytes: number;
  readonly records: LogRecord[];
}

/** Everything good in a segment's bytes; undefined if not even its header is. */
export function scanSegment(bytes: Buffer): SegmentScan | undefined {
  const header = decodeSegmentHeader(bytes);
  if (header === undefined) return undefined;
  const records: LogRecord[] = [];
  let at = segmentHeaderBytes;
  let next = header.first;
  for (;;) {
    const record = decodeRecord(bytes, at);
    if (record === undefined || record.number !== next || record.epoch !== header.epoch) break;
    records.push(record);
    next++;
    at += recordHeaderBytes + record.body.length;
  }
  return { header, last: next - 1n, goodBytes: at, records };
}

function decodeRecord(bytes: Buffer, at: number): LogRecord | undefined {
  if (bytes.length - at < recordHeaderBytes) return undefined;
  const bodyBytes = bytes.readUInt32LE(at + 4);
  const end = at + recordHeaderBytes + bodyBytes;
  if (bodyBytes > logRecordBytesMax || end > bytes.length) return undefined;
  if (crc32(bytes.subarray(at + 4, end)) !== bytes.readUInt32LE(at)) return undefined;
  return {
    number: bytes.readBigUInt64LE(at + 8),
    epoch: bytes.readBigUInt64LE(at + 16),
    body: bytes.subarray(at + recordHeaderBytes, end),
  };
}
