// The attributes of an inode, also of one that has no name any more but is still open. Needs no right, like fstat(2).
import type { message } from '@catena/core';
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';
import type { InodeBody } from './operation.ts';

export function stat(state: Transaction, request: message.StatRequest): InodeBody {
  return { inode: requireInode(state, request.inode) };
}
