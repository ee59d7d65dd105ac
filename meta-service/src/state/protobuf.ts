// The protobuf wire format, as far as hot records need it: written by hand because it is four times as fast
// as the general runtime (docs/decisions/0003-hot-record-codec.md). 64-bit numbers pass through two 32-bit
// halves of a shared scratch, so that no arithmetic is done on a bigint. It must write exactly the bytes that
// the generated code writes (P30).
import { FsError } from '@catena/core';

const scratch64 = new BigUint64Array(1);
const scratchSigned64 = new BigInt64Array(scratch64.buffer);
const scratch32 = new Uint32Array(scratch64.buffer); // little-endian: [0] is the low half

/** Writes into a buffer that grows; `position` is public so that a caller can note where a part began. */
export class Writer {
  buffer: Buffer;
  position = 0;

  constructor(bytes = 1024) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  /** Makes room for `bytes` more; every method that writes without a bound of its own calls it. */
  reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.position);
    this.buffer = larger;
  }

  /** What was written since `from`, in memory of its own. */
  copy(from = 0): Buffer {
    const bytes = Buffer.allocUnsafe(this.position - from);
    this.buffer.copy(bytes, 0, from, this.position);
    return bytes;
  }

  /** What another writer holds, without a copy in between. Reserves by itself. */
  writerField(tag: number, part: Writer): void {
    this.reserve(10 + part.position);
    this.varint32(tag);
    this.varint32(part.position);
    part.buffer.copy(this.buffer, this.position, 0, part.position);
    this.position += part.position;
  }

  /** Text of one character per byte, as keys are. Reserves by itself. */
  latin1Field(tag: number, text: string): void {
    if (text.length === 0) return;
    this.reserve(10 + text.length);
    this.varint32(tag);
    this.varint32(text.length);
    this.position += this.buffer.write(text, this.position, 'latin1');
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.position);
    this.position += bytes.length;
  }

  byte(value: number): void {
    this.buffer[this.position++] = value;
  }

  /** The caller has reserved 5 bytes. */
  varint32(value: number): void {
    const { buffer } = this;
    let position = this.position;
    let rest = value >>> 0;
    while (rest > 0x7f) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[position++] = rest;
    this.position = position;
  }

  /** The caller has reserved 10 bytes. */
  #varint64(low: number, high: number): void {
    const { buffer } = this;
    let position = this.position;
    let l = low >>> 0;
    let h = high >>> 0;
    while (h !== 0) {
      buffer[position++] = (l & 0x7f) | 0x80;
      l = ((l >>> 7) | (h << 25)) >>> 0;
      h >>>= 7;
    }
    while (l > 0x7f) {
      buffer[position++] = (l & 0x7f) | 0x80;
      l >>>= 7;
    }
    buffer[position++] = l;
    this.position = position;
  }

  /** A field with the tag of one or two bytes; absent if zero, as proto3 wants. The caller has reserved 12 bytes. */
  uint32Field(tag: number, value: number): void {
    if (value === 0) return;
    this.varint32(tag);
    this.varint32(value);
  }

  uint64Field(tag: number, value: bigint): void {
    scratch64[0] = value;
    const low = scratch32[0]!;
    const high = scratch32[1]!;
    if (low === 0 && high === 0) return;
    this.varint32(tag);
    this.#varint64(low, high);
  }

  /** Zigzag. */
  sint64Field(tag: number, value: bigint): void {
    scratchSigned64[0] = value;
    const low = scratch32[0]!;
    const high = scratch32[1]!;
    if (low === 0 && high === 0) return;
    this.varint32(tag);
    const sign = (high | 0) >> 31;
    this.#varint64((low << 1) ^ sign, ((high << 1) | (low >>> 31)) ^ sign);
  }

  /** Reserves by itself. */
  bytesField(tag: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.presentBytesField(tag, value);
  }

  /** As `bytesField`, but present even when empty. */
  presentBytesField(tag: number, value: Uint8Array): void {
    this.reserve(10 + value.length);
    this.varint32(tag);
    this.varint32(value.length);
    this.buffer.set(value, this.position);
    this.position += value.length;
  }
}

/** Reads one message between two offsets; every read is checked against the end. */
export class Reader {
  #buffer: Uint8Array = new Uint8Array(0);
  position = 0;
  end = 0;

  reset(buffer: Uint8Array, start: number, end: number): void {
    this.#buffer = buffer;
    this.position = start;
    this.end = end;
  }

  uint32(): number {
    const buffer = this.#buffer;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = buffer[this.position++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (this.position > this.end) throw truncated();
        return value >>> 0;
      }
    }
    // A 32-bit field may be written as a longer varint; its upper bits are dropped.
    for (let count = 0; count < 5; count++) if (this.#buffer[this.position++]! < 0x80) return value >>> 0;
    throw truncated();
  }

  #halves(): void {
    const buffer = this.#buffer;
    let position = this.position;
    let low = 0;
    let high = 0;
    let byte = 0x80;
    for (let shift = 0; shift < 28 && byte >= 0x80; shift += 7) {
      byte = buffer[position++]!;
      low |= (byte & 0x7f) << shift;
    }
    if (byte >= 0x80) {
      byte = buffer[position++]!;
      low |= (byte & 0x7f) << 28;
      high = (byte & 0x7f) >> 4;
      for (let shift = 3; shift < 35 && byte >= 0x80; shift += 7) {
        byte = buffer[position++]!;
        high |= (byte & 0x7f) << shift;
      }
    }
    if (byte >= 0x80 || position > this.end) throw truncated();
    this.position = position;
    scratch32[0] = low;
    scratch32[1] = high;
  }

  uint64(): bigint {
    this.#halves();
    return scratch64[0]!;
  }

  sint64(): bigint {
    this.#halves();
    const low = scratch32[0]!;
    const high = scratch32[1]!;
    const sign = -(low & 1);
    scratch32[0] = ((low >>> 1) | (high << 31)) ^ sign;
    scratch32[1] = (high >>> 1) ^ sign;
    return scratchSigned64[0]!;
  }

  /** In memory of its own: the buffer that is read may be the store's or a socket's. */
  bytes(): Buffer {
    const start = this.skipBytes();
    const copy = Buffer.allocUnsafe(this.position - start);
    copy.set(this.#buffer.subarray(start, this.position));
    return copy;
  }

  /** One character per byte. */
  latin1(): string {
    const start = this.skipBytes();
    return Buffer.from(this.#buffer.buffer, this.#buffer.byteOffset + start, this.position - start).toString(
      'latin1',
    );
  }

  /** Steps over a length-delimited field; returns where its bytes began. */
  skipBytes(): number {
    const length = this.uint32();
    const start = this.position;
    if (start + length > this.end) throw truncated();
    this.position = start + length;
    return start;
  }

  /** Steps over a field that this release does not know. */
  stepOver(tag: number): void {
    const type = tag & 7;
    if (type === 0) this.#halves();
    else if (type === 1) this.position += 8;
    else if (type === 2) this.skipBytes();
    else if (type === 5) this.position += 4;
    else throw new FsError('BAD_MESSAGE', `wire type ${type}`);
    if (this.position > this.end) throw truncated();
  }
}

function truncated(): FsError {
  return new FsError('BAD_MESSAGE', 'a record ends in the middle of a field');
}
