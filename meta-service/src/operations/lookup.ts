// The inode behind a name of a directory. `.` and `..` work, for clients that come with a handle instead of a
// path.
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { inodeOf, requireDirectory, requireInode } from './inodes.ts';
import { checkName, isDot, isDotDot } from './names.ts';
import type { Context, InodeBody } from './operation.ts';
import { mayExecute, requireAccess } from './permissions.ts';
import type { LookupBody } from './requests.ts';

export function lookup(state: Transaction, request: LookupBody, context: Context): InodeBody {
  const parent = requireDirectory(state, request.parent);
  checkName(request.name);
  requireAccess(parent, context.caller, mayExecute);
  if (isDot(request.name)) return { inode: parent };
  if (isDotDot(request.name)) return { inode: requireInode(state, parent.parent) };
  const found = state.entry(parent.id, request.name);
  if (found === undefined) throw refusal('NOT_FOUND');
  return { inode: inodeOf(state, found) };
}
