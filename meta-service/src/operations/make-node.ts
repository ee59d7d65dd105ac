// mknod(2): pipes, sockets, devices, and regular files that are not opened.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { makeInode, withNames } from './inodes.ts';
import { requireFreeName } from './new-name.ts';
import type { Context, InodeBody } from './operation.ts';
import { isRoot } from './permissions.ts';

const { FILE_DIRECTORY, FILE_SYMLINK, FILE_CHARACTER, FILE_BLOCK } = message.FileType;

export function makeNode(state: Transaction, request: message.MakeNodeRequest, context: Context): InodeBody {
  const { type } = request;
  const parent = requireFreeName(state, request.parent, request.name, context.caller);
  if (type === FILE_DIRECTORY) throw refusal('NOT_PERMITTED', 'mknod makes no directories');
  if (type === FILE_SYMLINK || !isKnownType(type)) throw refusal('INVALID_ARGUMENT', `file type ${type}`);
  const isDevice = type === FILE_CHARACTER || type === FILE_BLOCK;
  if (isDevice && !isRoot(context.caller)) throw refusal('NOT_PERMITTED', 'only root makes devices');
  const device = isDevice ? request.device : 0;
  const inode = makeInode(state, parent, { type, mode: request.mode, device }, context);
  state.addInode(inode);
  state.addEntry(parent.id, { name: request.name, inode: inode.id, type });
  state.putInode(withNames(parent, context, 1));
  return { inode };
}

function isKnownType(type: number): boolean {
  return (Object.values(message.FileType) as number[]).includes(type);
}
