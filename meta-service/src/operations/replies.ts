// Replies to bytes, without their header: that is written in front when they leave, so that a kept answer
// fits any retry. By hand, because every reply with attributes is hot; replies.test.ts holds them against the
// generated code.
import { writeInode } from '../state/inode-codec.ts';
import { Writer } from '../state/protobuf.ts';
import type { EmptyBody, InodeBody, OpenBody } from './operation.ts';
import type { ListBody, Listed } from './read-directory.ts';
import type { FileSystemBody } from './stat-file-system.ts';

const body = new Writer(4096);
const inner = new Writer();
const innermost = new Writer();
const nothing = Buffer.alloc(0);
/** A long listing must not pin its memory for ever. */
const keptBytesMax = 1 << 20;

function message(tag: number, part: Writer): void {
  body.presentBytesField(tag, part.buffer.subarray(0, part.position));
}

export function inode(reply: InodeBody): Uint8Array {
  body.position = 0;
  inner.position = 0;
  writeInode(inner, reply.inode);
  message(18, inner);
  return body.copy();
}

export function open(reply: OpenBody): Uint8Array {
  body.position = 0;
  inner.position = 0;
  writeInode(inner, reply.inode);
  message(18, inner);
  body.reserve(24);
  body.uint64Field(24, reply.session);
  if (reply.created) body.uint32Field(32, 1);
  return body.copy();
}

export function empty(_reply: EmptyBody): Uint8Array {
  return nothing;
}

export function target(reply: { target: Buffer }): Uint8Array {
  body.position = 0;
  body.bytesField(18, reply.target);
  return body.copy();
}

export function fileSystem(reply: FileSystemBody): Uint8Array {
  body.position = 0;
  body.reserve(40);
  body.uint64Field(16, reply.capacityBytes);
  body.uint64Field(24, reply.usedBytes);
  body.uint64Field(32, reply.files);
  return body.copy();
}

export function list(reply: ListBody): Uint8Array {
  body.position = 0;
  for (const entry of reply.entries) {
    inner.position = 0;
    writeListed(inner, entry);
    message(18, inner);
  }
  body.reserve(24);
  if (reply.end) body.uint32Field(24, 1);
  body.uint64Field(32, reply.parent);
  const bytes = body.copy();
  if (body.buffer.length > keptBytesMax) body.buffer = Buffer.allocUnsafe(4096);
  return bytes;
}

function writeListed(writer: Writer, entry: Listed): void {
  writer.bytesField(10, entry.name);
  writer.reserve(40);
  writer.uint64Field(16, entry.inode);
  writer.uint32Field(24, entry.type);
  writer.uint64Field(32, entry.offset);
  if (entry.attributes === undefined) return;
  innermost.position = 0;
  writeInode(innermost, entry.attributes);
  writer.presentBytesField(42, innermost.buffer.subarray(0, innermost.position));
}
