// What happens when a name goes: the inode loses a link; the last one takes the file with it, unless somebody
// has it open. Chunks are only ever removed through an intent (P13).
import { message } from '@catena/core';
import { orphanKey } from '../state/keys.ts';
import { orphans } from '../state/tables.ts';
import type { Transaction } from '../state/transaction.ts';
import { changed } from './inodes.ts';
import type { Context } from './operation.ts';

/** Takes one link of a file, or both of an empty directory. */
export function dropLink(state: Transaction, inode: message.Inode, context: Context): void {
  const isDirectory = inode.type === message.FileType.FILE_DIRECTORY;
  const next = changed(inode, context);
  next.nlink = isDirectory ? 0 : inode.nlink - 1;
  if (next.nlink > 0) {
    state.putInode(next);
  } else if (state.sessionsOf(inode.id).size > 0) {
    state.putInode(next);
    state.addOrphan(next);
  } else {
    discard(state, next);
  }
}

/** An inode that has neither a name nor a session. */
export function discard(state: Transaction, inode: message.Inode): void {
  state.removeInode(inode.id);
  // A file of length 0 has no chunks: whoever wrote has reported, or was asked about when it died.
  if (inode.type === message.FileType.FILE_REGULAR && inode.length > 0n) state.addRemoval(inode);
}

/** As `discard`, for one that outlived its last name. */
export function discardOrphan(state: Transaction, inode: message.Inode): void {
  state.remove(orphans, orphanKey(inode.id));
  discard(state, inode);
}
