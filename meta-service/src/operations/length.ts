// Setting a file's length (truncate, ftruncate, O_TRUNC) in the form for one writer (P19): a cut writes an
// intent with the next generation; the owner trims the chunks when that is on the medium, and serves nothing
// of the file before.
import { strict as assert } from 'node:assert';
import { message } from '@catena/core';
import { fileBytesMax } from '../limits.ts';
import { copyOf } from '../state/inode-codec.ts';
import { refusal } from '../state/refusal.ts';
import { recordVersion } from '../state/tables.ts';
import type { Transaction } from '../state/transaction.ts';
import { changeTime } from './inodes.ts';
import { type Context, opensForWriting } from './operation.ts';
import { isRoot, withoutSetBits } from './permissions.ts';

/** Says that nobody here knows how far the file's chunks reach: the chains are asked. */
export const lengthUnknown = (1n << 64n) - 1n;

/**
 * Puts and returns the inode with its new length; starts a truncation where chunks must be trimmed. `written`: as
 * far as the requester wrote, whether or not it was reported. A report that comes later must meet a new generation.
 */
export function setLength(
  state: Transaction,
  inode: message.Inode,
  length: bigint,
  written: bigint,
  context: Context,
): message.Inode {
  requireResizable(inode);
  if (length > fileBytesMax || written > fileBytesMax) throw refusal('FILE_TOO_LARGE');
  const at = changeTime(inode, context);
  const next = copyOf(inode);
  next.length = length;
  if (!isRoot(context.caller)) next.mode = withoutSetBits(inode.mode);
  next.mtimeNs = at;
  next.ctimeNs = at;
  next.change += 1n;
  // Another client may have written further than it has reported: its bytes must not appear when the file
  // grows later.
  const othersWrite = hasOtherWriter(state, inode.id, context.client);
  const knownLength = written > inode.length ? written : inode.length;
  if (length < knownLength || othersWrite) {
    assert(inode.layout !== undefined, `file ${inode.id} has no layout`);
    next.generation = inode.generation + 1n;
    if (next.blocksBytes > length) next.blocksBytes = length;
    state.startTruncation({
      recordVersion,
      inode: inode.id,
      generation: next.generation,
      length,
      oldLength: othersWrite ? lengthUnknown : knownLength,
      layout: inode.layout,
    });
  }
  state.putInode(next);
  return next;
}

export function requireResizable(inode: message.Inode): void {
  if (inode.type === message.FileType.FILE_DIRECTORY) throw refusal('IS_DIRECTORY');
  if (inode.type !== message.FileType.FILE_REGULAR) throw refusal('INVALID_ARGUMENT', 'not a regular file');
}

function hasOtherWriter(state: Transaction, inode: bigint, client: string): boolean {
  for (const session of state.sessionsOf(inode)) {
    if (session.client !== client && opensForWriting(session.flags)) return true;
  }
  return false;
}
