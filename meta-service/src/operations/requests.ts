// Requests from bytes. The header, field 1 of every request, is read by hand and so are the bodies of the
// hottest kinds; the others go through the generated code. What does not change from one request to the next
// (the client, the user) is not made anew.
import { FsError, type message } from '@catena/core';
import { Reader } from '../state/protobuf.ts';
import type { Caller } from './operation.ts';

/** What the service uses of a request's header. */
export interface Header {
  readonly requestId: bigint;
  /** For how long its caller waits, counted from the sending; 0: nobody said (P17). */
  readonly deadlineMs: number;
  /** 16 bytes, one character each. */
  readonly client: string;
  readonly sequence: bigint;
  readonly answeredUpTo: bigint;
  /** undefined: the request says nothing of its user. */
  readonly caller: Caller | undefined;
}

const headerTag = 10;
const headerReader = new Reader();
const innerReader = new Reader();
const bodyReader = new Reader();

let lastClient = '';
let lastUserBytes: Buffer = Buffer.alloc(0);
let lastUser: Caller | undefined;

/** The header, and where the body begins. */
export function readHeader(bytes: Buffer): { header: Header; bodyStart: number } {
  if (bytes[0] !== headerTag) throw new FsError('BAD_MESSAGE', 'a request does not begin with its header');
  headerReader.reset(bytes, 1, bytes.length);
  headerReader.skipBytes();
  const bodyStart = headerReader.position;
  headerReader.reset(bytes, 1, bytes.length);
  headerReader.uint32();
  headerReader.end = bodyStart;
  let requestId = 0n;
  let deadlineMs = 0;
  let client = '';
  let sequence = 0n;
  let answeredUpTo = 0n;
  let caller: Caller | undefined;
  while (headerReader.position < bodyStart) {
    const tag = headerReader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: requestId = headerReader.uint64(); break;
      case 16: deadlineMs = headerReader.uint32(); break;
      case 34: caller = readUser(bytes, headerReader.skipBytes(), headerReader.position); break;
      case 50: client = readClient(bytes, headerReader.skipBytes(), headerReader.position); break;
      case 56: sequence = headerReader.uint64(); break;
      case 64: answeredUpTo = headerReader.uint64(); break;
      default: headerReader.stepOver(tag);
    }
  }
  return { header: { requestId, deadlineMs, client, sequence, answeredUpTo, caller }, bodyStart };
}

function readClient(bytes: Buffer, start: number, end: number): string {
  const { length } = lastClient;
  if (end - start === length) {
    let at = 0;
    while (at < length && lastClient.charCodeAt(at) === bytes[start + at]) at++;
    if (at === length) return lastClient;
  }
  lastClient = bytes.toString('latin1', start, end);
  return lastClient;
}

function readUser(bytes: Buffer, start: number, end: number): Caller {
  if (lastUser !== undefined && lastUserBytes.length === end - start) {
    let at = 0;
    while (at < lastUserBytes.length && lastUserBytes[at] === bytes[start + at]) at++;
    if (at === lastUserBytes.length) return lastUser;
  }
  let uid = 0;
  let gid = 0;
  const groups: number[] = [];
  innerReader.reset(bytes, start, end);
  while (innerReader.position < end) {
    const tag = innerReader.uint32();
    if (tag === 8) {
      uid = innerReader.uint32();
    } else if (tag === 16) {
      gid = innerReader.uint32();
    } else if (tag === 24) {
      groups.push(innerReader.uint32());
    } else if (tag === 26) {
      const packedStart = innerReader.skipBytes();
      const packedEnd = innerReader.position;
      innerReader.position = packedStart;
      while (innerReader.position < packedEnd) groups.push(innerReader.uint32());
    } else {
      innerReader.stepOver(tag);
    }
  }
  lastUserBytes = Buffer.from(bytes.subarray(start, end));
  lastUser = { uid, gid, groups };
  return lastUser;
}

export type LookupBody = Omit<message.LookupRequest, 'header'>;
export type StatBody = Omit<message.StatRequest, 'header'>;
export type OpenBody = Omit<message.OpenRequest, 'header'>;
export type CreateBody = Omit<message.CreateRequest, 'header'>;
export type CloseBody = Omit<message.CloseRequest, 'header'>;

const none = Buffer.alloc(0);

export function readLookup(bytes: Buffer, start: number): LookupBody {
  let parent = 0n;
  let name: Buffer = none;
  bodyReader.reset(bytes, start, bytes.length);
  while (bodyReader.position < bodyReader.end) {
    const tag = bodyReader.uint32();
    if (tag === 16) parent = bodyReader.uint64();
    else if (tag === 26) name = bodyReader.bytes();
    else bodyReader.stepOver(tag);
  }
  return { parent, name };
}

export function readStat(bytes: Buffer, start: number): StatBody {
  let inode = 0n;
  bodyReader.reset(bytes, start, bytes.length);
  while (bodyReader.position < bodyReader.end) {
    const tag = bodyReader.uint32();
    if (tag === 16) inode = bodyReader.uint64();
    else bodyReader.stepOver(tag);
  }
  return { inode };
}

export function readOpen(bytes: Buffer, start: number): OpenBody {
  let inode = 0n;
  let flags = 0;
  let written = 0n;
  bodyReader.reset(bytes, start, bytes.length);
  while (bodyReader.position < bodyReader.end) {
    const tag = bodyReader.uint32();
    if (tag === 16) inode = bodyReader.uint64();
    else if (tag === 24) flags = bodyReader.uint32();
    else if (tag === 32) written = bodyReader.uint64();
    else bodyReader.stepOver(tag);
  }
  return { inode, flags, written };
}

export function readCreate(bytes: Buffer, start: number): CreateBody {
  let parent = 0n;
  let name: Buffer = none;
  let mode = 0;
  let flags = 0;
  bodyReader.reset(bytes, start, bytes.length);
  while (bodyReader.position < bodyReader.end) {
    const tag = bodyReader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 16: parent = bodyReader.uint64(); break;
      case 26: name = bodyReader.bytes(); break;
      case 32: mode = bodyReader.uint32(); break;
      case 40: flags = bodyReader.uint32(); break;
      default: bodyReader.stepOver(tag);
    }
  }
  return { parent, name, mode, flags };
}

export function readClose(bytes: Buffer, start: number): CloseBody {
  let inode = 0n;
  let session = 0n;
  let report: message.LengthReport | undefined;
  bodyReader.reset(bytes, start, bytes.length);
  while (bodyReader.position < bodyReader.end) {
    const tag = bodyReader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 16: inode = bodyReader.uint64(); break;
      case 24: session = bodyReader.uint64(); break;
      case 34: report = readReport(bytes, bodyReader.skipBytes(), bodyReader.position); break;
      default: bodyReader.stepOver(tag);
    }
  }
  return { inode, session, report };
}

function readReport(bytes: Buffer, start: number, end: number): message.LengthReport {
  const report = { length: 0n, generation: 0n, ageNs: 0n, allocatedDelta: 0n, unchanged: false };
  innerReader.reset(bytes, start, end);
  while (innerReader.position < end) {
    const tag = innerReader.uint32();
    // biome-ignore format: one field a line
    switch (tag) {
      case 8: report.length = innerReader.uint64(); break;
      case 16: report.generation = innerReader.uint64(); break;
      case 24: report.ageNs = innerReader.uint64(); break;
      case 32: report.allocatedDelta = innerReader.sint64(); break;
      case 40: report.unchanged = innerReader.uint32() !== 0; break;
      default: innerReader.stepOver(tag);
    }
  }
  return report;
}
