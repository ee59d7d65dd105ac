// What a writer reports of its file: how far it has written and when (P20). A report of before a truncation
// is dropped (P19); the length never shrinks by one.
import { message } from '@catena/core';
import { fileBytesMax } from '../limits.ts';
import { copyOf } from '../state/inode-codec.ts';
import type { Session } from '../state/open-files.ts';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';
import { type Context, type InodeBody, opensForWriting } from './operation.ts';

export function report(state: Transaction, request: message.ReportRequest, context: Context): InodeBody {
  const inode = requireInode(state, request.inode);
  const session = state.session(request.session);
  if (session === undefined || session.inode !== inode.id || session.client !== context.client) {
    throw refusal('BAD_HANDLE', 'no session of this client and file');
  }
  if (request.report === undefined) return { inode };
  if (!opensForWriting(session.flags)) throw refusal('BAD_HANDLE', 'not open for writing');
  return { inode: applyReport(state, inode, session, request.report, context) };
}

/** Puts the inode if anything changed; returns what it is now. */
export function applyReport(
  state: Transaction,
  inode: message.Inode,
  session: Session,
  news: message.LengthReport,
  context: Context,
): message.Inode {
  if (inode.type !== message.FileType.FILE_REGULAR || news.generation !== inode.generation) return inode;
  if (news.length > fileBytesMax) throw refusal('FILE_TOO_LARGE');
  const length = news.length > inode.length ? news.length : inode.length;
  const blocks = inode.blocksBytes + news.allocatedDelta;
  const blocksBytes = blocks > 0n ? blocks : 0n;
  const mtimeNs = news.unchanged
    ? inode.mtimeNs
    : writeTime(inode, session, context.nowNs - news.ageNs, context);
  if (length === inode.length && blocksBytes === inode.blocksBytes && mtimeNs === inode.mtimeNs) return inode;
  const next = copyOf(inode);
  next.length = length;
  next.blocksBytes = blocksBytes;
  next.mtimeNs = mtimeNs;
  if (mtimeNs > inode.ctimeNs) next.ctimeNs = mtimeNs;
  next.change += 1n;
  state.putInode(next);
  return next;
}

/** The last write counts unless the times were set by hand after it; a time of the future gives way to it. */
function writeTime(inode: message.Inode, session: Session, wroteNs: bigint, context: Context): bigint {
  if (wroteNs <= session.timesSetNs) return inode.mtimeNs;
  return wroteNs > inode.mtimeNs || inode.mtimeNs > context.nowNs ? wroteNs : inode.mtimeNs;
}
