// The typed face of the native data plane. The addon is loaded by the first call, not by the import.
export { allocateBlocks } from './allocate.ts';
export { type BenchReport, type BenchSettings, runBench, runCreates } from './bench.ts';
export { Client, type ClientOptions, File, type Place, type User } from './client.ts';
export { bootClockMs } from './clock.ts';
export { DirectoryLock } from './directory-lock.ts';
export { startNativeLog } from './log.ts';
export { Mount, type MountOptions } from './mount.ts';
export { nextChain } from './next-chain.ts';
export { StorageServer, type StorageServerOptions } from './storage-server.ts';
