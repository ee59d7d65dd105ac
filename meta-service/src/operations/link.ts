// One more name for a file.
import { message } from '@catena/core';
import { linksMax } from '../limits.ts';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { changed, requireInode, requireRoom, withNames } from './inodes.ts';
import { requireFreeName } from './new-name.ts';
import type { Context, InodeBody } from './operation.ts';

export function link(state: Transaction, request: message.LinkRequest, context: Context): InodeBody {
  const inode = requireInode(state, request.inode);
  const parent = requireFreeName(state, request.parent, request.name, context.caller);
  if (inode.type === message.FileType.FILE_DIRECTORY)
    throw refusal('NOT_PERMITTED', 'no links to directories');
  if (inode.nlink === 0) throw refusal('NOT_FOUND', 'the file has lost its last name');
  if (inode.nlink >= linksMax) throw refusal('TOO_MANY_LINKS');
  requireRoom(context);
  const next = changed(inode, context);
  next.nlink = inode.nlink + 1;
  state.putInode(next);
  state.addEntry(parent.id, { name: request.name, inode: inode.id, type: inode.type });
  state.putInode(withNames(parent, context, 1));
  return { inode: next };
}
