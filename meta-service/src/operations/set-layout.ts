// The layout that new files and directories below this directory get; what exists keeps its own. A file can
// change its layout only while it is empty and nobody writes it.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { changed, ordinalOf, requireInode } from './inodes.ts';
import { type Context, type InodeBody, opensForWriting } from './operation.ts';
import { requireOwner } from './permissions.ts';

export function setLayout(
  state: Transaction,
  request: message.SetLayoutRequest,
  context: Context,
): InodeBody {
  const before = requireInode(state, request.inode);
  requireOwner(before, context.caller);
  if (request.layout === undefined) throw refusal('INVALID_ARGUMENT', 'no layout');
  const wanted = context.layouts.forDirectory(request.layout);
  const inode = changed(before, context);
  if (before.type === message.FileType.FILE_DIRECTORY) {
    inode.layout = wanted;
  } else {
    requireEmptyFile(state, before);
    inode.layout = context.layouts.forFile(wanted, ordinalOf(before.id));
  }
  state.putInode(inode);
  return { inode };
}

function requireEmptyFile(state: Transaction, inode: message.Inode): void {
  if (inode.type !== message.FileType.FILE_REGULAR)
    throw refusal('NOT_DIRECTORY', 'only directories and files');
  if (inode.length > 0n) throw refusal('INVALID_ARGUMENT', 'the file has data already');
  for (const session of state.sessionsOf(inode.id)) {
    if (opensForWriting(session.flags)) throw refusal('INVALID_ARGUMENT', 'the file is open for writing');
  }
}
