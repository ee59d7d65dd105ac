// Sizes of the whole file system.
import type { message } from '@catena/core';
import type { Transaction } from '../state/transaction.ts';
import type { Context } from './operation.ts';

export interface FileSystemBody {
  readonly capacityBytes: bigint;
  readonly usedBytes: bigint;
  readonly files: bigint;
}

export function statFileSystem(
  state: Transaction,
  _request: message.StatFileSystemRequest,
  context: Context,
): FileSystemBody {
  return { ...context.space, files: state.fileCount };
}
