// What every operation asks before it makes a new name.
import type { message } from '@catena/core';
import { refusal } from '../state/refusal.ts';
import type { Transaction } from '../state/transaction.ts';
import { requireAlive, requireDirectory } from './inodes.ts';
import { checkNewName } from './names.ts';
import type { Caller } from './operation.ts';
import { mayExecute, requireAccess, requireChangeable } from './permissions.ts';

/**
 * The directory, if it can take this name from this caller. An existing name is said before a missing right, as
 * Linux does.
 */
export function requireFreeName(
  state: Transaction,
  parent: bigint,
  name: Uint8Array,
  caller: Caller,
): message.Inode {
  const directory = requireDirectory(state, parent);
  requireAccess(directory, caller, mayExecute);
  checkNewName(name);
  if (state.entry(directory.id, name) !== undefined) throw refusal('EXISTS');
  requireAlive(directory);
  requireChangeable(directory, caller);
  return directory;
}
