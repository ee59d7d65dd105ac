// The raw functions and classes that native/crates/addon exports, as napi-rs names them. Only the faces in
// this folder use them.
import type { BenchSettings, RawBenchFindings } from './bench.ts';

export interface RawDirectoryLock {
  release(): void;
}

export interface RawUser {
  uid: number;
  gid: number;
  groups: number[];
}

export interface RawFile {
  attributes(): Buffer;
  read(offset: bigint, length: number): Promise<Buffer>;
  write(offset: bigint, data: Uint8Array): Promise<void>;
  fsync(): Promise<void>;
  close(): Promise<void>;
}

export interface RawClient {
  stop(): Promise<void>;
  root(): bigint;
  figures(): RawClientFigures;
  ask(kind: number, request: Uint8Array, user: RawUser): Promise<Buffer>;
  open(inode: bigint, flags: number, user: RawUser): Promise<RawFile>;
  create(parent: bigint, name: Uint8Array, mode: number, flags: number, user: RawUser): Promise<RawFile>;
  truncateChunks(inode: bigint, layout: Uint8Array, length: bigint, oldLength?: bigint): Promise<bigint>;
  removeChunks(inode: bigint, layout: Uint8Array, length: bigint): Promise<bigint>;
  queryLength(inode: bigint, layout: Uint8Array): Promise<bigint>;
  space(): Promise<{ capacityBytes: bigint; usedBytes: bigint }>;
  readChunks(inode: bigint, layout: Uint8Array, offset: bigint, length: number): Promise<Buffer>;
  writeChunks(inode: bigint, layout: Uint8Array, offset: bigint, data: Uint8Array): Promise<void>;
  flushChunks(layout: Uint8Array, length: bigint): Promise<void>;
  locate(
    layout: Uint8Array,
    offset: bigint,
    length: bigint,
  ): Promise<{ offset: bigint; length: bigint; nodes: number[] }[]>;
  routing(): Buffer;
}

export interface RawClientFigures {
  routingVersion: bigint;
  writeBytesInFlight: number;
  openInodes: number;
  corruptAnswers: number;
  metadataInFlight: number;
}

export interface RawClientSettings {
  managers: string[];
  cluster: string;
  host: string;
  ioTimeoutMs: number;
  hard: boolean;
  attributeTtlMs: number;
  writeBytesMax: number;
  connectTimeoutMs: number;
  withoutNames: boolean;
}

export interface RawStorageSettings {
  node: number;
  cluster: string;
  listen: string;
  advertise: string;
  domain: string;
  managers: string[];
  disks: string[];
  requireMountedDisks: boolean;
  media: string[];
  storeThreads: number;
  readThreads: number;
  updateBufferBytes: number;
  readBufferBytes: number;
  resyncBufferBytes: number;
  flushIntervalMs: number;
  diskTimeoutMs: number;
  resyncBytesPerSecond: number;
  scrubBytesPerSecond: number;
  scrubIntervalHours: number;
}

export interface RawCounter {
  name: string;
  help: string;
  value: number;
}

export interface RawStorageServer {
  address(): string;
  incarnation(): bigint;
  targets(): Buffer[];
  counters(): RawCounter[];
  stop(): Promise<void>;
}

export interface RawMountSettings {
  client: RawClientSettings;
  mountpoint: string;
  withoutCache: boolean;
  allowOther: boolean;
  readAheadBytes: number;
  threadsMax: number;
}

export interface RawOperationFigures {
  operation: string;
  requests: number;
  inFlight: number;
  errors: number;
  seconds: number;
}

export interface RawMount {
  ended(): Promise<void>;
  unmount(patienceMs: number): Promise<void>;
  operations(): RawOperationFigures[];
  inFlight(): number;
  openFiles(): number;
  figures(): RawClientFigures;
}

export interface Binding {
  NativeMount: { start(settings: RawMountSettings): Promise<RawMount> };
  DirectoryLock: { acquire(directory: string): RawDirectoryLock };
  NativeStorageServer: { start(settings: RawStorageSettings): Promise<RawStorageServer> };
  NativeClient: { connect(settings: RawClientSettings): Promise<RawClient> };
  runBench(settings: BenchSettings): Promise<RawBenchFindings>;
  runCreates(directory: string, runtimeMs: number): Promise<RawBenchFindings>;
  bootClockMs(): number;
  allocateBlocks(path: string, offset: number, length: number, keepLength: boolean): void;
  nextChain(request: Uint8Array): Buffer;
  startLog(process: string, level: string): void;
}
