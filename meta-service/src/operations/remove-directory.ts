// Removes an empty directory.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { inodeOf, requireDirectory, withNames } from './inodes.ts';
import { checkName, isDot, isDotDot } from './names.ts';
import { type Context, done, type EmptyBody } from './operation.ts';
import { mayExecute, requireAccess, requireRemovable } from './permissions.ts';
import { dropLink } from './removal.ts';

export function removeDirectory(
  state: Transaction,
  request: message.RemoveDirectoryRequest,
  context: Context,
): EmptyBody {
  const parent = requireDirectory(state, request.parent);
  checkName(request.name);
  requireAccess(parent, context.caller, mayExecute);
  if (isDot(request.name)) throw refusal('INVALID_ARGUMENT', '. is not removed');
  if (isDotDot(request.name)) throw refusal('NOT_EMPTY');
  const found = state.entry(parent.id, request.name);
  if (found === undefined) throw refusal('NOT_FOUND');
  const inode = inodeOf(state, found);
  requireRemovable(parent, inode, context.caller);
  if (inode.type !== message.FileType.FILE_DIRECTORY) throw refusal('NOT_DIRECTORY');
  if (inode.entries > 0n) throw refusal('NOT_EMPTY');
  state.removeEntry(parent.id, found);
  state.putInode(withNames(parent, context, -1, -1));
  dropLink(state, inode, context);
  return done;
}
