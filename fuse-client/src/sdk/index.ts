// The Node SDK: the file system without a mount. The only entry that other rooms import.
export { FileHandle } from './file-handle.ts';
export { FileSystem, type FileSystemOptions } from './file-system.ts';
export type { DirectoryEntry, FileKind, FileStats, FileSystemStats } from './stats.ts';
