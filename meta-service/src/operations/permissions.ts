// Who may do what, as Linux decides it: EACCES where the permission bits say no, EPERM where only the owner
// or root may. Checked here always; a check in the client is an optimisation.
import { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Caller } from './operation.ts';

export const mayRead = 4;
export const mayWrite = 2;
export const mayExecute = 1;

export const modeBits = {
  setUser: 0o4000,
  setGroup: 0o2000,
  sticky: 0o1000,
  groupExecute: 0o010,
  anyExecute: 0o111,
  all: 0o7777,
} as const;

export function isRoot(caller: Caller): boolean {
  return caller.uid === 0;
}

export function isOwner(inode: message.Inode, caller: Caller): boolean {
  return caller.uid === 0 || caller.uid === inode.uid;
}

export function inGroup(caller: Caller, gid: number): boolean {
  return caller.gid === gid || caller.groups.includes(gid);
}

/** Only the first class that fits counts: an owner without a right does not get it as a member of the group. */
export function permits(inode: message.Inode, caller: Caller, wanted: number): boolean {
  if (caller.uid === 0) {
    return (
      (wanted & mayExecute) === 0 ||
      inode.type === message.FileType.FILE_DIRECTORY ||
      (inode.mode & modeBits.anyExecute) !== 0
    );
  }
  const shift = caller.uid === inode.uid ? 6 : inGroup(caller, inode.gid) ? 3 : 0;
  return ((inode.mode >> shift) & 7 & wanted) === wanted;
}

export function requireAccess(inode: message.Inode, caller: Caller, wanted: number): void {
  if (!permits(inode, caller, wanted)) throw refusal('PERMISSION_DENIED');
}

export function requireOwner(inode: message.Inode, caller: Caller): void {
  if (!isOwner(inode, caller)) throw refusal('NOT_PERMITTED', 'only the owner may do this');
}

/** Adding and removing names. */
export function requireChangeable(directory: message.Inode, caller: Caller): void {
  requireAccess(directory, caller, mayWrite | mayExecute);
}

/** Taking this name out of the directory: in a sticky one, only the owner of either may. */
export function requireRemovable(directory: message.Inode, victim: message.Inode, caller: Caller): void {
  requireChangeable(directory, caller);
  if ((directory.mode & modeBits.sticky) !== 0 && !isOwner(victim, caller) && !isOwner(directory, caller)) {
    throw refusal('NOT_PERMITTED', 'the directory is sticky');
  }
}

/** Mode after a change of the content or the owner: set-user goes, set-group goes where the group may execute. */
export function withoutSetBits(mode: number): number {
  const cleared = mode & ~modeBits.setUser;
  return (cleared & modeBits.groupExecute) !== 0 ? cleared & ~modeBits.setGroup : cleared;
}
