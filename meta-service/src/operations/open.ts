// Opens a file or directory that exists: rights, O_TRUNC, and a session that keeps the inode alive until it
// is closed. Sessions of write opens are records of the log; those of read opens live in memory alone (P20), unless
// the open made or cut the file: then its answer is kept over a restart, and names a session that must be there.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { requireInode } from './inodes.ts';
import { setLength } from './length.ts';
import { type Context, type OpenBody, openFlags, opensForWriting } from './operation.ts';
import { mayExecute, mayRead, mayWrite, requireAccess } from './permissions.ts';
import type { OpenBody as OpenRequestBody } from './requests.ts';

const { FILE_DIRECTORY, FILE_REGULAR, FILE_SYMLINK } = message.FileType;

export function open(state: Transaction, request: OpenRequestBody, context: Context): OpenBody {
  return openInode(state, requireInode(state, request.inode), request, context);
}

export function openInode(
  state: Transaction,
  inode: message.Inode,
  { flags, written }: Pick<OpenRequestBody, 'flags' | 'written'>,
  context: Context,
): OpenBody {
  const writes = opensForWriting(flags);
  const truncates = (flags & openFlags.truncate) !== 0;
  if (inode.type === FILE_SYMLINK) throw refusal('LOOP', 'a symbolic link is not opened itself');
  if (inode.type === FILE_DIRECTORY) {
    if (writes || truncates) throw refusal('IS_DIRECTORY');
  } else if ((flags & openFlags.directory) !== 0) {
    throw refusal('NOT_DIRECTORY');
  } else if (inode.type !== FILE_REGULAR) {
    throw refusal('NOT_SUPPORTED', 'the kernel opens devices, pipes and sockets itself');
  }
  requireAccess(inode, context.caller, wantedAccess(flags));
  const next = truncates ? setLength(state, inode, 0n, written, context) : inode;
  const session = state.openSession(inode.id, context.client, flags, writes || truncates);
  return { inode: next, session, created: false };
}

function wantedAccess(flags: number): number {
  let wanted = (flags & openFlags.truncate) !== 0 ? mayWrite : 0;
  if ((flags & openFlags.execute) !== 0) return wanted | mayExecute;
  const mode = flags & openFlags.accessMode;
  if (mode !== openFlags.writeOnly) wanted |= mayRead;
  if (mode !== 0) wanted |= mayWrite;
  return wanted;
}
