// The target of a symbolic link. Needs no right on the link itself.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';

export function readLink(state: Transaction, request: message.ReadLinkRequest): { target: Buffer } {
  const inode = requireInode(state, request.inode);
  if (inode.type !== message.FileType.FILE_SYMLINK) throw refusal('INVALID_ARGUMENT', 'not a symbolic link');
  return { target: inode.symlink };
}
