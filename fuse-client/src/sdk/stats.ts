// What the SDK says of files: the stored inode in the words of Node's fs.
import { message } from '@catena/core';

export type FileKind =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'character-device'
  | 'block-device';

export interface FileStats {
  readonly inode: bigint;
  readonly kind: FileKind;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  /** Bytes; of a directory the number of its entries. */
  readonly size: bigint;
  readonly allocatedBytes: bigint;
  readonly accessed: Date;
  readonly modified: Date;
  readonly changed: Date;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly inode: bigint;
  readonly kind: FileKind;
  readonly stats: FileStats | undefined;
}

export interface FileSystemStats {
  readonly capacityBytes: bigint;
  readonly usedBytes: bigint;
  readonly files: bigint;
}

const kinds: Readonly<Record<message.FileType, FileKind>> = {
  [message.FileType.FILE_REGULAR]: 'file',
  [message.FileType.FILE_DIRECTORY]: 'directory',
  [message.FileType.FILE_SYMLINK]: 'symlink',
  [message.FileType.FILE_FIFO]: 'fifo',
  [message.FileType.FILE_SOCKET]: 'socket',
  [message.FileType.FILE_CHARACTER]: 'character-device',
  [message.FileType.FILE_BLOCK]: 'block-device',
};

export function kindOf(type: message.FileType): FileKind {
  return kinds[type];
}

export function statsOf(inode: message.Inode): FileStats {
  const kind = kindOf(inode.type);
  return {
    inode: inode.id,
    kind,
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    links: inode.nlink,
    size: kind === 'directory' ? inode.entries : inode.length,
    allocatedBytes: inode.blocksBytes,
    accessed: dateOf(inode.atimeNs),
    modified: dateOf(inode.mtimeNs),
    changed: dateOf(inode.ctimeNs),
  };
}

function dateOf(ns: bigint): Date {
  return new Date(Number(ns / 1_000_000n));
}
