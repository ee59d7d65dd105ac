// Files that no mount shows: inputs are copied to scratch before a job and outputs back after it, through
// whatever implements FileTransfer. Every byte is counted, because explain() owes the caller the price.

export interface RemoteEntry {
  readonly name: string;
  readonly isDirectory: boolean;
  readonly bytes: number;
}

/** Paths are absolute in the remote file system. Errors are FsErrors. */
export interface FileTransfer {
  /** For people: where the files are. */
  readonly name: string;
  /** undefined if there is none. */
  stat(path: string): Promise<RemoteEntry | undefined>;
  list(directory: string): Promise<RemoteEntry[]>;
  /** Copies a remote file to this machine; returns its bytes. */
  fetch(path: string, localPath: string): Promise<number>;
  /** Copies a local file there and flushes it; returns its bytes. */
  store(localPath: string, path: string): Promise<number>;
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A file, or a directory with all that is in it; nothing there is no error. */
  remove(path: string): Promise<void>;
}
