// Inode and DirectoryEntry to bytes and back, by hand: they are read and written by every operation. The
// bytes are those of the generated code; inode-codec.test.ts holds both against each other.
import { FsError, type message } from '@catena/core';
import { Reader, type Writer } from './protobuf.ts';

export const inodeVersion = 1;
export const entryVersion = 1;

/** 21 fields of at most 12 bytes, and a layout of six. */
const inodeBytesMax = 340;
const none = Buffer.alloc(0);

export function writeInode(writer: Writer, inode: message.Inode): void {
  writer.reserve(inodeBytesMax);
  writer.uint32Field(8, inode.recordVersion);
  writer.uint64Field(16, inode.id);
  writer.uint32Field(24, inode.type);
  writer.uint32Field(32, inode.mode);
  writer.uint32Field(40, inode.uid);
  writer.uint32Field(48, inode.gid);
  writer.uint32Field(56, inode.nlink);
  writer.uint64Field(64, inode.length);
  writer.sint64Field(72, inode.atimeNs);
  writer.sint64Field(80, inode.mtimeNs);
  writer.sint64Field(88, inode.ctimeNs);
  writer.sint64Field(96, inode.createdNs);
  writer.uint64Field(104, inode.generation);
  writer.uint64Field(112, inode.parent);
  writer.uint32Field(120, inode.device);
  writer.uint32Field(128, inode.flags);
  writer.uint64Field(136, inode.blocksBytes);
  if (inode.symlink.length > 0) {
    writer.bytesField(146, inode.symlink);
    writer.reserve(inodeBytesMax);
  }
  if (inode.layout !== undefined) writeLayout(writer, inode.layout);
  writer.uint64Field(160, inode.entries);
  writer.uint64Field(168, inode.change);
}

function writeLayout(writer: Writer, layout: message.Layout): void {
  writer.varint32(154);
  // At most 5 × 6 + 2 bytes: its length takes one byte, which is filled in afterwards.
  const lengthAt = writer.position++;
  writer.uint32Field(8, layout.table);
  writer.uint32Field(16, layout.tableVersion);
  writer.uint32Field(24, layout.chunkSize);
  writer.uint32Field(32, layout.stripe);
  writer.uint32Field(40, layout.first);
  if (layout.flushEachWrite) writer.uint32Field(48, 1);
  writer.buffer[lengthAt] = writer.position - lengthAt - 1;
}

const reader = new Reader();
const layoutReader = new Reader();

export function readInode(bytes: Uint8Array): message.Inode {
  const inode = emptyInode();
  reader.reset(bytes, 0, bytes.length);
  while (reader.position < reader.end) {
    const tag = reader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: inode.recordVersion = reader.uint32(); break;
      case 16: inode.id = reader.uint64(); break;
      case 24: inode.type = reader.uint32() as message.FileType; break;
      case 32: inode.mode = reader.uint32(); break;
      case 40: inode.uid = reader.uint32(); break;
      case 48: inode.gid = reader.uint32(); break;
      case 56: inode.nlink = reader.uint32(); break;
      case 64: inode.length = reader.uint64(); break;
      case 72: inode.atimeNs = reader.sint64(); break;
      case 80: inode.mtimeNs = reader.sint64(); break;
      case 88: inode.ctimeNs = reader.sint64(); break;
      case 96: inode.createdNs = reader.sint64(); break;
      case 104: inode.generation = reader.uint64(); break;
      case 112: inode.parent = reader.uint64(); break;
      case 120: inode.device = reader.uint32(); break;
      case 128: inode.flags = reader.uint32(); break;
      case 136: inode.blocksBytes = reader.uint64(); break;
      case 146: inode.symlink = reader.bytes(); break;
      case 154: inode.layout = readLayout(bytes, reader.skipBytes(), reader.position); break;
      case 160: inode.entries = reader.uint64(); break;
      case 168: inode.change = reader.uint64(); break;
      default: reader.stepOver(tag);
    }
  }
  checkVersion('inode', inode.recordVersion, inodeVersion);
  return inode;
}

function readLayout(bytes: Uint8Array, start: number, end: number): message.Layout {
  const layout: message.Layout = {
    table: 0,
    tableVersion: 0,
    chunkSize: 0,
    stripe: 0,
    first: 0,
    flushEachWrite: false,
  };
  layoutReader.reset(bytes, start, end);
  while (layoutReader.position < end) {
    const tag = layoutReader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: layout.table = layoutReader.uint32(); break;
      case 16: layout.tableVersion = layoutReader.uint32(); break;
      case 24: layout.chunkSize = layoutReader.uint32(); break;
      case 32: layout.stripe = layoutReader.uint32(); break;
      case 40: layout.first = layoutReader.uint32(); break;
      case 48: layout.flushEachWrite = layoutReader.uint32() !== 0; break;
      default: layoutReader.stepOver(tag);
    }
  }
  return layout;
}

/** One shape for every inode, so that the engine sees one kind of object. */
export function emptyInode(): message.Inode {
  return {
    recordVersion: 0,
    id: 0n,
    type: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    nlink: 0,
    length: 0n,
    atimeNs: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
    createdNs: 0n,
    generation: 0n,
    parent: 0n,
    device: 0,
    flags: 0,
    blocksBytes: 0n,
    symlink: none,
    layout: undefined,
    entries: 0n,
    change: 0n,
  };
}

/**
 * A copy to be changed. Field by field, so that it has the shape of `emptyInode`: copies of copies by spreading
 * become dictionaries, which are thirty times as slow to make.
 */
export function copyOf(inode: message.Inode): message.Inode {
  return {
    recordVersion: inode.recordVersion,
    id: inode.id,
    type: inode.type,
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    nlink: inode.nlink,
    length: inode.length,
    atimeNs: inode.atimeNs,
    mtimeNs: inode.mtimeNs,
    ctimeNs: inode.ctimeNs,
    createdNs: inode.createdNs,
    generation: inode.generation,
    parent: inode.parent,
    device: inode.device,
    flags: inode.flags,
    blocksBytes: inode.blocksBytes,
    symlink: inode.symlink,
    layout: inode.layout,
    entries: inode.entries,
    change: inode.change,
  };
}

/** A directory entry as it is stored: without offset (that is its key) and attributes. */
export interface Entry {
  readonly name: Buffer;
  readonly inode: bigint;
  readonly type: message.FileType;
}

export function writeEntry(writer: Writer, entry: Entry): void {
  writer.bytesField(10, entry.name);
  writer.reserve(40);
  writer.uint64Field(16, entry.inode);
  writer.uint32Field(24, entry.type);
  writer.uint32Field(48, entryVersion);
}

export function readEntry(bytes: Uint8Array): Entry {
  let name: Buffer = none;
  let inode = 0n;
  let type: message.FileType = 0;
  let version = 0;
  reader.reset(bytes, 0, bytes.length);
  while (reader.position < reader.end) {
    const tag = reader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 10: name = reader.bytes(); break;
      case 16: inode = reader.uint64(); break;
      case 24: type = reader.uint32() as message.FileType; break;
      case 48: version = reader.uint32(); break;
      default: reader.stepOver(tag);
    }
  }
  checkVersion('directory entry', version, entryVersion);
  return { name, inode, type };
}

/**
 * Every stored record says its version; there is only version 1 so far, and a newer release's data are refused
 * (P27).
 */
export function checkVersion(what: string, version: number, newest: number): void {
  if (version > newest) {
    throw new FsError('NEWER_DATA', `a record of kind ${what} has version ${version}, known is ${newest}`);
  }
  if (version === 0) throw new FsError('CORRUPT', `a record of kind ${what} has no version`);
}
