// The layout that new files and directories below this directory get. What exists keeps its own.
import type { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { changed, requireDirectory } from './inodes.ts';
import type { Context, InodeBody } from './operation.ts';
import { requireOwner } from './permissions.ts';

export function setLayout(
  state: Transaction,
  request: message.SetLayoutRequest,
  context: Context,
): InodeBody {
  const directory = requireDirectory(state, request.inode);
  requireOwner(directory, context.caller);
  if (request.layout === undefined) throw refusal('INVALID_ARGUMENT', 'no layout');
  const inode = changed(directory, context);
  inode.layout = context.layouts.forDirectory(request.layout);
  state.putInode(inode);
  return { inode };
}
