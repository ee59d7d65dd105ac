// The 16 bytes before every message, the same as native/crates/wire/src/frame.rs writes:
//   0 magic 0xCA · 1 version · 2 kind · 3 flags · 4..8 message bytes · 8..12 payload bytes
//   12..16 CRC32C of bytes 0..12
// Lengths are checked here, before anything is kept for them. Hot path: no allocation per header.
import { strict as assert } from 'node:assert';
import { FsError } from './errors.ts';
import { messageBytesMax, payloadBytesMax } from './limits.ts';

export const frameHeaderBytes = 16;
export const frameFlags = { none: 0, reply: 1, oneWay: 2 } as const;
const magic = 0xca;
const version = 1;
const flagsKnown = 3;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC32C of the 12 bytes that a frame's checksum covers; too slow, and not meant, for anything longer. */
function headerChecksum(bytes: Uint8Array, offset: number): number {
  let crc = 0xffffffff;
  for (let at = offset; at < offset + 12; at++) crc = crcTable[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Writes a header at `offset`; the message of `messageBytes` follows it. */
export function writeFrameHeader(
  target: Buffer,
  offset: number,
  kind: number,
  flags: number,
  messageBytes: number,
  payloadBytes = 0,
): void {
  assert(messageBytes <= messageBytesMax, `a message of ${messageBytes} bytes`);
  assert(payloadBytes <= payloadBytesMax, `a payload of ${payloadBytes} bytes`);
  target[offset] = magic;
  target[offset + 1] = version;
  target[offset + 2] = kind;
  target[offset + 3] = flags;
  target.writeUInt32LE(messageBytes, offset + 4);
  target.writeUInt32LE(payloadBytes, offset + 8);
  target.writeUInt32LE(headerChecksum(target, offset), offset + 12);
}

/** One whole frame in a buffer of its own. */
export function encodeFrame(kind: number, flags: number, message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + message.length);
  writeFrameHeader(frame, 0, kind, flags, message.length);
  frame.set(message, frameHeaderBytes);
  return frame;
}

/** `message` and `payload` are views that are valid only until the sink returns. */
export type FrameSink = (kind: number, flags: number, message: Buffer, payload: Buffer) => void;

/**
 * Cuts a stream of bytes into frames. Throws BAD_FRAME at the first byte that is none: the connection is then
 * to be closed.
 */
export class FrameParser {
  readonly #sink: FrameSink;
  readonly #payloadBytesMax: number;
  // The beginning of a frame whose end has not arrived, as the pieces it came in; joined once.
  #held: Buffer[] = [];
  #heldBytes = 0;
  #neededBytes = frameHeaderBytes;

  /** Without `payloadBytesMax` every payload is refused: chunk bytes never pass through Node. */
  constructor(sink: FrameSink, options: { payloadBytesMax?: number } = {}) {
    this.#sink = sink;
    this.#payloadBytesMax = options.payloadBytesMax ?? 0;
  }

  push(chunk: Buffer): void {
    let offset = this.#heldBytes === 0 ? 0 : this.#complete(chunk);
    if (this.#heldBytes > 0) return;
    while (chunk.length - offset >= frameHeaderBytes) {
      const total = this.#frameBytes(chunk, offset);
      if (chunk.length - offset < total) {
        this.#neededBytes = total;
        break;
      }
      this.#deliver(chunk, offset, total);
      offset += total;
    }
    if (offset < chunk.length) {
      this.#held.push(chunk.subarray(offset));
      this.#heldBytes = chunk.length - offset;
    }
  }

  /** Fills up the frame that is held with the start of `chunk`; returns how many bytes of it were taken. */
  #complete(chunk: Buffer): number {
    let offset = 0;
    while (this.#heldBytes > 0) {
      const taken = Math.min(this.#neededBytes - this.#heldBytes, chunk.length - offset);
      this.#held.push(chunk.subarray(offset, offset + taken));
      this.#heldBytes += taken;
      offset += taken;
      if (this.#heldBytes < this.#neededBytes) return offset;
      const joined = Buffer.concat(this.#held, this.#heldBytes);
      const total = this.#frameBytes(joined, 0);
      if (joined.length < total) {
        this.#neededBytes = total;
        this.#held = [joined];
        continue;
      }
      this.#held = [];
      this.#heldBytes = 0;
      this.#neededBytes = frameHeaderBytes;
      this.#deliver(joined, 0, total);
    }
    return offset;
  }

  #deliver(bytes: Buffer, offset: number, total: number): void {
    const messageStart = offset + frameHeaderBytes;
    const messageEnd = messageStart + bytes.readUInt32LE(offset + 4);
    this.#sink(
      bytes[offset + 2]!,
      bytes[offset + 3]!,
      bytes.subarray(messageStart, messageEnd),
      bytes.subarray(messageEnd, offset + total),
    );
  }

  /** Checks the header at `offset`; returns the bytes of its whole frame. */
  #frameBytes(bytes: Buffer, offset: number): number {
    if (bytes[offset] !== magic || bytes[offset + 1] !== version) {
      throw new FsError('BAD_FRAME', `magic and version are ${bytes[offset]} ${bytes[offset + 1]}`);
    }
    if (headerChecksum(bytes, offset) !== bytes.readUInt32LE(offset + 12)) {
      throw new FsError('BAD_FRAME', "the header's checksum does not match");
    }
    if (bytes[offset + 3]! > flagsKnown) throw new FsError('BAD_FRAME', `unknown flags ${bytes[offset + 3]}`);
    const messageBytes = bytes.readUInt32LE(offset + 4);
    if (messageBytes > messageBytesMax) throw new FsError('BAD_FRAME', `a message of ${messageBytes} bytes`);
    const payloadBytes = bytes.readUInt32LE(offset + 8);
    if (payloadBytes > this.#payloadBytesMax) {
      throw new FsError('BAD_FRAME', `a payload of ${payloadBytes} bytes`);
    }
    return frameHeaderBytes + messageBytes + payloadBytes;
  }
}
