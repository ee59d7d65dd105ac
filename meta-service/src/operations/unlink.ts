// Removes a name that is not a directory's.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { inodeOf, requireDirectory, withNames } from './inodes.ts';
import { checkName, isDot, isDotDot } from './names.ts';
import { type Context, done, type EmptyBody } from './operation.ts';
import { mayExecute, requireAccess, requireRemovable } from './permissions.ts';
import { dropLink } from './removal.ts';

export function unlink(state: Transaction, request: message.UnlinkRequest, context: Context): EmptyBody {
  const parent = requireDirectory(state, request.parent);
  checkName(request.name);
  requireAccess(parent, context.caller, mayExecute);
  if (isDot(request.name) || isDotDot(request.name)) throw refusal('IS_DIRECTORY');
  const found = state.entry(parent.id, request.name);
  if (found === undefined) throw refusal('NOT_FOUND');
  const inode = inodeOf(state, found);
  requireRemovable(parent, inode, context.caller);
  if (inode.type === message.FileType.FILE_DIRECTORY) throw refusal('IS_DIRECTORY');
  state.removeEntry(parent.id, found);
  state.putInode(withNames(parent, context, -1));
  dropLink(state, inode, context);
  return done;
}
