// chmod, chown, utimensat, truncate and any mixture of them in one request, with Linux's rules of rights and
// of set-user and set-group bits. With a session it acts through an open handle, whose right was checked when
// it was opened.
import { message } from '@catena/core';
import { copyOf } from '../state/inode-codec.ts';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { changed, changeTime, requireInode } from './inodes.ts';
import { requireResizable, setLength } from './length.ts';
import { type Caller, type Context, type InodeBody, opensForWriting } from './operation.ts';
import {
  inGroup,
  isOwner,
  isRoot,
  mayWrite,
  modeBits,
  requireAccess,
  requireOwner,
  withoutSetBits,
} from './permissions.ts';

type Request = message.SetAttributesRequest;

export function setAttributes(state: Transaction, request: Request, context: Context): InodeBody {
  const inode = requireInode(state, request.inode);
  const { caller } = context;
  checkOwnership(inode, request, caller);
  if (request.mode !== undefined) requireOwner(inode, caller);
  checkTimes(inode, request, caller);
  if (request.length !== undefined) checkLength(state, inode, request, context);

  const next = changed(inode, context);
  if (request.uid !== undefined) next.uid = request.uid;
  if (request.gid !== undefined) next.gid = request.gid;
  next.mode = newMode(inode, next, request, caller);
  setTimes(state, next, inode, request, context);
  if (request.length === undefined) {
    state.putInode(next);
    return { inode: next };
  }
  // Times that are set in the same request win over those of the truncation.
  const sized = setLength(state, next, request.length, request.written, context);
  if (!setsTimes(request)) return { inode: sized };
  const timed = copyOf(sized);
  if (setsMtime(request)) timed.mtimeNs = next.mtimeNs;
  state.putInode(timed);
  return { inode: timed };
}

/** Only root gives files away; an owner may give a file to another of its own groups. */
function checkOwnership(inode: message.Inode, request: Request, caller: Caller): void {
  if (isRoot(caller)) return;
  if (request.uid !== undefined && (caller.uid !== inode.uid || request.uid !== inode.uid)) {
    throw refusal('NOT_PERMITTED', 'only root changes the owner');
  }
  if (request.gid !== undefined) {
    if (caller.uid !== inode.uid || (request.gid !== inode.gid && !inGroup(caller, request.gid))) {
      throw refusal('NOT_PERMITTED', 'only the owner changes the group, to one of its own');
    }
  }
}

function newMode(inode: message.Inode, next: message.Inode, request: Request, caller: Caller): number {
  const isDirectory = inode.type === message.FileType.FILE_DIRECTORY;
  let { mode } = inode;
  const changesOwner = request.uid !== undefined || request.gid !== undefined;
  if ((changesOwner || request.killSuid) && !isDirectory) mode = withoutSetBits(mode);
  if (request.mode === undefined) return mode;
  mode = request.mode & modeBits.all;
  // A set-group bit would lend a group that the caller is not in.
  if (!isRoot(caller) && !inGroup(caller, next.gid)) mode &= ~modeBits.setGroup;
  return mode;
}

function setsMtime(request: Request): boolean {
  return request.mtimeNow || request.mtimeNs !== undefined;
}
function setsTimes(request: Request): boolean {
  return setsMtime(request) || request.atimeNow || request.atimeNs !== undefined;
}

/** Both times to now needs the right to write; anything else needs to be the owner. */
function checkTimes(inode: message.Inode, request: Request, caller: Caller): void {
  if (!setsTimes(request) || isOwner(inode, caller)) return;
  const touches = request.atimeNow && request.mtimeNow;
  if (touches) requireAccess(inode, caller, mayWrite);
  else throw refusal('NOT_PERMITTED', 'only the owner sets times');
}

function setTimes(
  state: Transaction,
  next: message.Inode,
  inode: message.Inode,
  request: Request,
  context: Context,
): void {
  if (request.atimeNow) next.atimeNs = context.nowNs;
  else if (request.atimeNs !== undefined) next.atimeNs = request.atimeNs;
  if (request.mtimeNow) next.mtimeNs = changeTime(inode, context);
  else if (request.mtimeNs !== undefined) next.mtimeNs = request.mtimeNs;
  if (setsMtime(request)) state.timesWereSet(inode.id, context.nowNs);
}

function checkLength(state: Transaction, inode: message.Inode, request: Request, context: Context): void {
  requireResizable(inode);
  if (request.session === 0n) {
    requireAccess(inode, context.caller, mayWrite);
    return;
  }
  const session = state.session(request.session);
  if (session === undefined || session.inode !== inode.id || session.client !== context.client) {
    throw refusal('BAD_HANDLE', 'no session of this client and file');
  }
  if (!opensForWriting(session.flags)) throw refusal('INVALID_ARGUMENT', 'not open for writing');
}
