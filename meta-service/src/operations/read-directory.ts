// One page of a directory, in the order of the entries' offsets: what existed all the time is listed exactly
// once, whatever is added or removed meanwhile. `plus` adds the attributes, for callers who may search the
// directory.
import type { message } from '@catena/core';
import { listBytesMax, listEntriesMax } from '../limits.ts';
import type { Transaction } from '../state/transaction.ts';
import { requireDirectory } from './inodes.ts';
import type { Context } from './operation.ts';
import { mayExecute, mayRead, permits, requireAccess } from './permissions.ts';

export interface Listed {
  readonly name: Buffer;
  readonly inode: bigint;
  readonly type: message.FileType;
  readonly offset: bigint;
  readonly attributes: message.Inode | undefined;
}
export interface ListBody {
  readonly entries: readonly Listed[];
  readonly end: boolean;
  readonly parent: bigint;
}

/** What an entry adds to the answer at most, beside its name and a symbolic link's target. */
const entryBytes = 80;
const attributesBytes = 340;

export function readDirectory(
  state: Transaction,
  request: message.ReadDirectoryRequest,
  context: Context,
): ListBody {
  const directory = requireDirectory(state, request.inode);
  requireAccess(directory, context.caller, mayRead);
  const plus = request.plus && permits(directory, context.caller, mayExecute);
  const most = request.limit === 0 ? listEntriesMax : Math.min(request.limit, listEntriesMax);
  const entries: Listed[] = [];
  let bytes = 0;
  for (const { offset, entry } of state.list(directory.id, request.offset)) {
    if (entries.length === most || bytes >= listBytesMax) {
      return { entries, end: false, parent: directory.parent };
    }
    const attributes = plus ? state.inodeNow(entry.inode) : undefined;
    entries.push({ name: entry.name, inode: entry.inode, type: entry.type, offset, attributes });
    bytes += entryBytes + entry.name.length;
    if (attributes !== undefined) bytes += attributesBytes + attributes.symlink.length;
  }
  return { entries, end: true, parent: directory.parent };
}
