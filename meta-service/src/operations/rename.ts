// renameat2(2): moves a name, replacing what has the new one (unless NOREPLACE), or swaps two (EXCHANGE). The
// order of the checks is Linux's, so that the errno is, too.
import { strict as assert } from 'node:assert';
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { FoundEntry, Transaction } from '../state/transaction.ts';
import { changed, inodeOf, requireAlive, requireDirectory, rootInode, withNames } from './inodes.ts';
import { checkName, isDot, isDotDot } from './names.ts';
import { type Context, done, type EmptyBody } from './operation.ts';
import { mayExecute, mayWrite, requireAccess, requireChangeable, requireRemovable } from './permissions.ts';
import { dropLink } from './removal.ts';

const noReplace = 1;
const exchange = 2;
/** More directories above each other than paths can be long: a loop would be our own bug. */
const depthMax = 1_000_000;

/** One of the two names: its directory, its entry if it exists, and the inode behind it. */
interface Place {
  readonly parent: message.Inode;
  readonly name: Buffer;
  readonly found: FoundEntry | undefined;
  readonly inode: message.Inode | undefined;
}
interface FullPlace extends Place {
  readonly found: FoundEntry;
  readonly inode: message.Inode;
}

export function rename(state: Transaction, request: message.RenameRequest, context: Context): EmptyBody {
  const { flags } = request;
  if ((flags & ~(noReplace | exchange)) !== 0 || flags === (noReplace | exchange)) {
    throw refusal('INVALID_ARGUMENT', `rename flags ${flags}`);
  }
  const source = place(state, request.sourceParent, request.sourceName, context);
  const target = place(state, request.targetParent, request.targetName, context);
  if (!isFull(source)) throw refusal('NOT_FOUND');
  if (flags === noReplace && target.found !== undefined) throw refusal('EXISTS');
  if (flags === exchange && target.found === undefined) throw refusal('NOT_FOUND');
  checkLoops(state, source, target, flags === exchange);
  if (source.inode.id === target.inode?.id) return done; // two names of one file: nothing happens
  checkRights(source, target, context, flags === exchange);
  if (flags === exchange) swap(state, source, full(target), context);
  else move(state, source, target, context);
  return done;
}

function place(state: Transaction, parent: bigint, name: Buffer, context: Context): Place {
  const directory = requireDirectory(state, parent);
  checkName(name);
  requireAccess(directory, context.caller, mayExecute);
  if (isDot(name) || isDotDot(name)) throw refusal('INVALID_ARGUMENT', '. and .. are not renamed');
  const found = state.entry(directory.id, name);
  return { parent: directory, name, found, inode: found && inodeOf(state, found) };
}

function isFull(place: Place): place is FullPlace {
  return place.found !== undefined;
}
function full(place: Place): FullPlace {
  assert(isFull(place));
  return place;
}
function isDirectory(inode: message.Inode | undefined): boolean {
  return inode?.type === message.FileType.FILE_DIRECTORY;
}

/** A directory never gets into itself; one that holds the source is not replaced by it. */
function checkLoops(state: Transaction, source: FullPlace, target: Place, exchanges: boolean): void {
  if (source.parent.id === target.parent.id) return;
  if (isDirectory(source.inode) && isWithin(state, target.parent, source.inode.id)) {
    throw refusal('INVALID_ARGUMENT', 'a directory cannot move into itself');
  }
  if (isDirectory(target.inode) && isWithin(state, source.parent, target.inode!.id)) {
    throw exchanges
      ? refusal('INVALID_ARGUMENT', 'a directory cannot move into itself')
      : refusal('NOT_EMPTY');
  }
}

function isWithin(state: Transaction, directory: message.Inode, ancestor: bigint): boolean {
  let at = directory;
  for (let depth = 0; depth < depthMax; depth++) {
    if (at.id === ancestor) return true;
    if (at.id === rootInode || at.nlink === 0) return false;
    at = requireDirectory(state, at.parent);
  }
  throw new Error(`directory ${directory.id} is its own ancestor`);
}

function checkRights(source: FullPlace, target: Place, context: Context, exchanges: boolean): void {
  const { caller } = context;
  requireRemovable(source.parent, source.inode, caller);
  if (target.inode === undefined) {
    requireAlive(target.parent);
    requireChangeable(target.parent, caller);
  } else {
    requireRemovable(target.parent, target.inode, caller);
    if (!exchanges) {
      if (isDirectory(source.inode) && !isDirectory(target.inode)) throw refusal('NOT_DIRECTORY');
      if (!isDirectory(source.inode) && isDirectory(target.inode)) throw refusal('IS_DIRECTORY');
    }
  }
  // A directory that gets another parent changes itself: its `..`.
  if (source.parent.id !== target.parent.id) {
    if (isDirectory(source.inode)) requireAccess(source.inode, caller, mayWrite);
    if (exchanges && isDirectory(target.inode)) requireAccess(target.inode!, caller, mayWrite);
  }
  if (!exchanges && isDirectory(target.inode) && target.inode!.entries > 0n) throw refusal('NOT_EMPTY');
}

function move(state: Transaction, source: FullPlace, target: Place, context: Context): void {
  const moved = changed(source.inode, context);
  const directories = isDirectory(moved) ? 1 : 0;
  const replaced = target.found === undefined ? 0 : 1;
  const replacedDirectories = isDirectory(target.inode) ? 1 : 0;
  if (source.parent.id === target.parent.id) {
    state.putInode(withNames(source.parent, context, -replaced, -replacedDirectories));
  } else {
    state.putInode(withNames(source.parent, context, -1, -directories));
    state.putInode(withNames(target.parent, context, 1 - replaced, directories - replacedDirectories));
    if (directories > 0) moved.parent = target.parent.id;
  }
  state.putInode(moved);
  state.removeEntry(source.parent.id, source.found);
  if (target.found !== undefined && target.inode !== undefined) {
    state.replaceEntry(target.parent.id, target.found, moved.id, moved.type);
    dropLink(state, target.inode, context);
  } else {
    state.addEntry(target.parent.id, { name: target.name, inode: moved.id, type: moved.type });
  }
}

function swap(state: Transaction, source: FullPlace, target: FullPlace, context: Context): void {
  const first = changed(source.inode, context);
  const second = changed(target.inode, context);
  if (source.parent.id === target.parent.id) {
    state.putInode(withNames(source.parent, context, 0));
  } else {
    const balance = (isDirectory(second) ? 1 : 0) - (isDirectory(first) ? 1 : 0);
    state.putInode(withNames(source.parent, context, 0, balance));
    state.putInode(withNames(target.parent, context, 0, -balance));
    if (isDirectory(first)) first.parent = target.parent.id;
    if (isDirectory(second)) second.parent = source.parent.id;
  }
  state.putInode(first);
  state.putInode(second);
  state.replaceEntry(source.parent.id, source.found, second.id, second.type);
  state.replaceEntry(target.parent.id, target.found, first.id, first.type);
}
