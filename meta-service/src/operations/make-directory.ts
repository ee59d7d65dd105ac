// Makes an empty directory.
import { message } from '@catena/core';
import type { Transaction } from '../state/transaction.ts';
import { makeInode, withNames } from './inodes.ts';
import { requireFreeName } from './new-name.ts';
import type { Context, InodeBody } from './operation.ts';

export function makeDirectory(
  state: Transaction,
  request: message.MakeDirectoryRequest,
  context: Context,
): InodeBody {
  const parent = requireFreeName(state, request.parent, request.name, context.caller);
  const grown = withNames(parent, context, 1, 1);
  const type = message.FileType.FILE_DIRECTORY;
  const inode = makeInode(state, parent, { type, mode: request.mode }, context);
  state.addInode(inode);
  state.addEntry(parent.id, { name: request.name, inode: inode.id, type });
  state.putInode(grown);
  return { inode };
}
