// Steps that several operations share: fetching inodes, making them, and what changes with them (POSIX's
// rules of times).
import { message } from '@catena/core';
import { linksMax, partitions } from '../limits.ts';
import { copyOf, emptyInode, inodeVersion } from '../state/inode-codec.ts';
import { refusal } from '../state/refusal.ts';
import type { FoundEntry, Transaction } from '../state/transaction.ts';
import type { Context } from './operation.ts';
import { inGroup, isRoot, modeBits } from './permissions.ts';

export const rootInode = 1n;
export const directoryBytes = 4096n;
const partitionShift = 48n;

/** The number in the lower 48 bits of an id: unique over all partitions, rising by one with each inode. */
export function ordinalOf(inode: bigint): bigint {
  return inode & ((1n << partitionShift) - 1n);
}

/** An id that is gone is a stale handle: the kernel then looks the path up again. */
export function requireInode(state: Transaction, id: bigint): message.Inode {
  const inode = state.inode(id);
  if (inode === undefined) throw refusal('STALE_HANDLE');
  return inode;
}

export function requireDirectory(state: Transaction, id: bigint): message.Inode {
  const inode = requireInode(state, id);
  if (inode.type !== message.FileType.FILE_DIRECTORY) throw refusal('NOT_DIRECTORY');
  return inode;
}

/** The inode that an entry names. */
export function inodeOf(state: Transaction, entry: FoundEntry): message.Inode {
  const inode = state.inode(entry.inode);
  if (inode === undefined)
    throw refusal('CORRUPT', `an entry names inode ${entry.inode}, which does not exist`);
  return inode;
}

/** A directory that was removed while somebody has it open takes no names. */
export function requireAlive(directory: message.Inode): void {
  if (directory.nlink === 0) throw refusal('NOT_FOUND', 'the directory was removed');
}

/** The time of a change: the owner's now, but never before an earlier change of the same inode (P17). */
export function changeTime(inode: message.Inode, context: Context): bigint {
  return context.nowNs > inode.ctimeNs ? context.nowNs : inode.ctimeNs;
}

/** The inode with one more change of its attributes. */
export function changed(inode: message.Inode, context: Context): message.Inode {
  const next = copyOf(inode);
  next.ctimeNs = changeTime(inode, context);
  next.change += 1n;
  return next;
}

/** A directory that gained or lost names. */
export function withNames(
  directory: message.Inode,
  context: Context,
  names: number,
  subdirectories = 0,
): message.Inode {
  const at = changeTime(directory, context);
  const nlink = directory.nlink + subdirectories;
  if (nlink > linksMax) throw refusal('TOO_MANY_LINKS');
  const next = copyOf(directory);
  next.nlink = nlink;
  next.entries += BigInt(names);
  next.mtimeNs = at;
  next.ctimeNs = at;
  next.change += 1n;
  return next;
}

export interface NewInode {
  readonly type: message.FileType;
  /** Permission bits, umask applied. */
  readonly mode: number;
  readonly device?: number;
  readonly symlink?: Buffer;
}

/** Refuses what makes names while the names' own disk is full (P8). */
export function requireRoom(context: Context): void {
  if (context.isFull) throw refusal('NO_SPACE', 'the disk of the metadata service is full; remove something');
}

/** A new inode in this directory: its group and its set-group bit follow the directory's. */
export function makeInode(
  state: Transaction,
  parent: message.Inode,
  wanted: NewInode,
  context: Context,
): message.Inode {
  requireRoom(context);
  const { caller, nowNs } = context;
  const isDirectory = wanted.type === message.FileType.FILE_DIRECTORY;
  const inherits = (parent.mode & modeBits.setGroup) !== 0;
  const gid = inherits ? parent.gid : caller.gid;
  let mode = wanted.mode & modeBits.all;
  if (inherits && isDirectory) mode |= modeBits.setGroup;
  if (inherits && !isDirectory && !isRoot(caller) && !inGroup(caller, gid)) {
    const both = modeBits.setGroup | modeBits.groupExecute;
    if ((mode & both) === both) mode &= ~modeBits.setGroup;
  }
  const inode = emptyInode();
  inode.recordVersion = inodeVersion;
  const ordinal = state.newOrdinal();
  // Directories are spread over the partitions, files stay in their directory's (P18).
  inode.id = inodeId(isDirectory ? ordinal % BigInt(partitions) : parent.id >> partitionShift, ordinal);
  inode.type = wanted.type;
  inode.mode = mode;
  inode.uid = caller.uid;
  inode.gid = gid;
  inode.nlink = isDirectory ? 2 : 1;
  inode.atimeNs = nowNs;
  inode.mtimeNs = nowNs;
  inode.ctimeNs = nowNs;
  inode.createdNs = nowNs;
  inode.device = wanted.device ?? 0;
  inode.change = 1n;
  if (isDirectory) {
    inode.parent = parent.id;
    inode.length = directoryBytes;
    inode.layout = parent.layout;
  }
  if (wanted.symlink !== undefined) {
    inode.symlink = wanted.symlink;
    inode.length = BigInt(wanted.symlink.length);
  }
  if (wanted.type === message.FileType.FILE_REGULAR) {
    inode.layout = context.layouts.forFile(parent.layout, ordinal);
  }
  return inode;
}

function inodeId(partition: bigint, ordinal: bigint): bigint {
  return (partition << partitionShift) | ordinal;
}
