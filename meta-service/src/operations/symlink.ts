// Makes a symbolic link; its target is any text.
import { message } from '@catena/core';
import { symlinkBytesMax } from '../limits.ts';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { makeInode, withNames } from './inodes.ts';
import { requireFreeName } from './new-name.ts';
import type { Context, InodeBody } from './operation.ts';

export function symlink(state: Transaction, request: message.SymlinkRequest, context: Context): InodeBody {
  const { target } = request;
  if (target.length === 0) throw refusal('NOT_FOUND', 'an empty target');
  if (target.length > symlinkBytesMax) throw refusal('NAME_TOO_LONG', `a target of ${target.length} bytes`);
  if (target.includes(0)) throw refusal('INVALID_ARGUMENT', 'a target with a zero byte');
  const parent = requireFreeName(state, request.parent, request.name, context.caller);
  const type = message.FileType.FILE_SYMLINK;
  const inode = makeInode(state, parent, { type, mode: 0o777, symlink: target }, context);
  state.addInode(inode);
  state.addEntry(parent.id, { name: request.name, inode: inode.id, type });
  state.putInode(withNames(parent, context, 1));
  return { inode };
}
