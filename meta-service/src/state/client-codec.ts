// Sessions of open files and kept answers to bytes and back, by hand: every create and close writes both.
// Same rules as for inodes.
import type { message } from '@catena/core';
import { checkVersion } from './inode-codec.ts';
import { Reader, type Writer } from './protobuf.ts';

export const sessionVersion = 1;
export const answerVersion = 1;

export interface StoredSession {
  /** 16 bytes, one character each. */
  readonly client: string;
  readonly inode: bigint;
  readonly id: bigint;
  readonly flags: number;
}

/** SessionRecord. */
export function writeSession(writer: Writer, session: StoredSession): void {
  writer.reserve(64);
  writer.uint32Field(8, sessionVersion);
  writer.latin1Field(18, session.client);
  writer.reserve(40);
  writer.uint64Field(24, session.inode);
  writer.uint64Field(32, session.id);
  writer.uint32Field(40, session.flags);
}

const reader = new Reader();
const none = Buffer.alloc(0);

export function readSession(bytes: Uint8Array): StoredSession {
  let client = '';
  let inode = 0n;
  let id = 0n;
  let flags = 0;
  let version = 0;
  reader.reset(bytes, 0, bytes.length);
  while (reader.position < reader.end) {
    const tag = reader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: version = reader.uint32(); break;
      case 18: client = reader.latin1(); break;
      case 24: inode = reader.uint64(); break;
      case 32: id = reader.uint64(); break;
      case 40: flags = reader.uint32(); break;
      default: reader.stepOver(tag);
    }
  }
  checkVersion('session', version, sessionVersion);
  return { client, inode, id, flags };
}

export interface StoredAnswer {
  readonly sequence: bigint;
  readonly kind: message.MessageKind;
  /** The reply without its header. */
  readonly reply: Uint8Array;
  /** Not 0: given again only when this inode's truncation is finished (P19). */
  readonly truncating: bigint;
}

/** KeptAnswer. */
export function writeAnswer(writer: Writer, answer: StoredAnswer): void {
  writer.reserve(24);
  writer.uint64Field(8, answer.sequence);
  writer.uint32Field(16, answer.kind);
  writer.bytesField(26, answer.reply);
  writer.reserve(24);
  writer.uint32Field(32, answerVersion);
  writer.uint64Field(40, answer.truncating);
}

export function readAnswer(bytes: Uint8Array): StoredAnswer {
  let sequence = 0n;
  let kind = 0;
  let reply: Uint8Array = none;
  let truncating = 0n;
  let version = 0;
  reader.reset(bytes, 0, bytes.length);
  while (reader.position < reader.end) {
    const tag = reader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: sequence = reader.uint64(); break;
      case 16: kind = reader.uint32(); break;
      case 26: reply = reader.bytes(); break;
      case 32: version = reader.uint32(); break;
      case 40: truncating = reader.uint64(); break;
      default: reader.stepOver(tag);
    }
  }
  checkVersion('kept answer', version, answerVersion);
  return { sequence, kind: kind as message.MessageKind, reply, truncating };
}
