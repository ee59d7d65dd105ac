// Ends a session, with the writer's last report. The last session of a file without a name takes the file
// with it. Closing what is closed already (after a restart, or a fence) is no error: there is nothing left to
// do.
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';
import { type Context, type InodeBody, opensForWriting } from './operation.ts';
import { discardOrphan } from './removal.ts';
import { applyReport } from './report.ts';
import type { CloseBody } from './requests.ts';

export function close(state: Transaction, request: CloseBody, context: Context): InodeBody {
  let inode = requireInode(state, request.inode);
  const session = state.session(request.session);
  if (session === undefined || session.inode !== inode.id || session.client !== context.client) {
    return { inode };
  }
  if (request.report !== undefined && opensForWriting(session.flags)) {
    inode = applyReport(state, inode, session, request.report, context);
  }
  state.closeSession(session);
  if (inode.nlink === 0 && state.sessionsOf(inode.id).size === 1) discardOrphan(state, inode);
  return { inode };
}
