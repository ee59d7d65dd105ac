// open(2) with O_CREAT: makes a regular file, or opens the one that has the name. A file that was made is
// open for what was asked, whatever its mode says.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { inodeOf, makeInode, requireAlive, requireDirectory, withNames } from './inodes.ts';
import { checkName, isDot, isDotDot } from './names.ts';
import { openInode } from './open.ts';
import { type Context, type OpenBody, openFlags } from './operation.ts';
import { mayExecute, requireAccess, requireChangeable } from './permissions.ts';
import type { CreateBody } from './requests.ts';

export function create(state: Transaction, request: CreateBody, context: Context): OpenBody {
  const parent = requireDirectory(state, request.parent);
  checkName(request.name);
  requireAccess(parent, context.caller, mayExecute);
  if (isDot(request.name) || isDotDot(request.name)) throw refusal('IS_DIRECTORY');
  const found = state.entry(parent.id, request.name);
  if (found !== undefined) {
    if ((request.flags & openFlags.exclusive) !== 0) throw refusal('EXISTS');
    const inode = inodeOf(state, found);
    if (inode.type === message.FileType.FILE_DIRECTORY) throw refusal('IS_DIRECTORY');
    return openInode(state, inode, { flags: request.flags, written: 0n }, context);
  }
  requireAlive(parent);
  if ((request.flags & openFlags.directory) !== 0)
    throw refusal('INVALID_ARGUMENT', 'O_CREAT with O_DIRECTORY');
  requireChangeable(parent, context.caller);
  const inode = makeInode(
    state,
    parent,
    { type: message.FileType.FILE_REGULAR, mode: request.mode },
    context,
  );
  state.addInode(inode);
  state.addEntry(parent.id, { name: request.name, inode: inode.id, type: inode.type });
  state.putInode(withNames(parent, context, 1));
  // Also a read open: the answer is kept over a restart, and what it names must be there when it is given again.
  const session = state.openSession(inode.id, context.client, request.flags, true);
  return { inode, session, created: true };
}
