// File content that tells which file and offset it belongs to, made fast: a xorshift stream from a seed.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** `length` bytes that depend on every bit of the seed. */
export function contentOf(seed: number, length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4) || 1);
  let state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return Buffer.from(words.buffer, 0, length);
}

const pieceBytes = 8 << 20;

/** Writes a large file piece by piece and returns its SHA-256. */
export function writeLarge(path: string, length: number, seed: number): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'w');
  for (let offset = 0; offset < length; offset += pieceBytes) {
    const piece = contentOf(seed + offset / pieceBytes, Math.min(pieceBytes, length - offset));
    hash.update(piece);
    for (let written = 0; written < piece.length; ) written += writeSync(fd, piece, written);
  }
  closeSync(fd);
  return hash.digest('hex');
}

export function hashOf(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(pieceBytes);
  const fd = openSync(path, 'r');
  for (;;) {
    const got = readSync(fd, buffer, 0, buffer.length, null);
    if (got === 0) break;
    hash.update(buffer.subarray(0, got));
  }
  closeSync(fd);
  return hash.digest('hex');
}
