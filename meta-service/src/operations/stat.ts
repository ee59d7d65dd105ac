// The attributes of an inode, also of one that has no name any more but is still open. Needs no right, like
// fstat(2).
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';
import type { InodeBody } from './operation.ts';
import type { StatBody } from './requests.ts';

export function stat(state: Transaction, request: StatBody): InodeBody {
  return { inode: requireInode(state, request.inode) };
}
