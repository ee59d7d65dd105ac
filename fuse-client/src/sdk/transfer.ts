// Copying files in and out with several pieces in the air and bounded memory: whatever the file's size,
// `windowPieces` pieces.
import { open } from 'node:fs/promises';
import { fromSystemError } from '@catena/core';
import type { FileHandle } from './file-handle.ts';

/** A default chunk: one piece goes to one chain. */
const pieceBytes = 1 << 20;
/** Pieces in the air: two for each of the four chains of a one-machine cluster. */
const windowPieces = 8;

/** Runs `piece` for every position below `length` that it does not end early; at most `windowPieces` at a time. */
async function eachPiece(piece: (position: number) => Promise<boolean>, from = 0): Promise<void> {
  let next = from;
  let ended = false;
  const lane = async (): Promise<void> => {
    while (!ended) {
      const position = next;
      next += pieceBytes;
      try {
        if (!(await piece(position))) ended = true;
      } catch (error) {
        ended = true;
        throw error;
      }
    }
  };
  const lanes = Array.from({ length: windowPieces }, lane);
  // All lanes end before the first failure is told: nothing goes on behind the caller's back.
  const results = await Promise.allSettled(lanes);
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

/** A local file's bytes into an open file. Returns how many. */
export async function copyIn(localPath: string, target: FileHandle): Promise<number> {
  const local = await open(localPath, 'r').catch((error: unknown) => {
    throw fromSystemError(error, `opening ${localPath}`);
  });
  let length = 0;
  try {
    await eachPiece(async (position) => {
      const buffer = Buffer.allocUnsafe(pieceBytes);
      let filled = 0;
      while (filled < pieceBytes) {
        const { bytesRead } = await local.read(buffer, filled, pieceBytes - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      if (filled > 0) await target.write(position, buffer.subarray(0, filled));
      length = Math.max(length, filled > 0 ? position + filled : 0);
      return filled === pieceBytes;
    });
  } catch (error) {
    throw fromSystemError(error, `reading ${localPath}`);
  } finally {
    await local.close();
  }
  return length;
}

/** An open file's bytes into a local file. Returns how many. */
export async function copyOut(source: FileHandle, localPath: string): Promise<number> {
  const local = await open(localPath, 'w').catch((error: unknown) => {
    throw fromSystemError(error, `making ${localPath}`);
  });
  let length = 0;
  try {
    await eachPiece(async (position) => {
      const bytes = await source.read(position, pieceBytes);
      let written = 0;
      while (written < bytes.length) {
        const rest = bytes.length - written;
        written += (await local.write(bytes, written, rest, position + written)).bytesWritten;
      }
      length = Math.max(length, bytes.length > 0 ? position + bytes.length : 0);
      return bytes.length === pieceBytes;
    });
  } catch (error) {
    throw fromSystemError(error, `writing ${localPath}`);
  } finally {
    await local.close();
  }
  return length;
}

/** Large buffers as pieces, so that they too go to all chains at once. */
export async function writeWhole(target: FileHandle, data: Uint8Array): Promise<void> {
  await eachPiece(async (position) => {
    const piece = data.subarray(position, position + pieceBytes);
    if (piece.length > 0) await target.write(position, piece);
    return piece.length === pieceBytes;
  });
}
