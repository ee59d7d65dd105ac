// The raw functions and classes that native/crates/addon exports, as napi-rs names them. Only the faces in this folder use them.

export interface RawDirectoryLock {
  release(): void;
}

export interface Binding {
  DirectoryLock: { acquire(directory: string): RawDirectoryLock };
  bootClockMs(): number;
  nextChain(request: Uint8Array): Buffer;
}
