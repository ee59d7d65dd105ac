// Every request that the service answers from its state: message, operation, reply. The page to open first.
// `updates` requests change something and carry a number, by which a retry gets the first answer (P17); the
// others may run any number of times.
import { message } from '@catena/core';
import { close } from './close.ts';
import { create } from './create.ts';
import { link } from './link.ts';
import { lookup } from './lookup.ts';
import { makeDirectory } from './make-directory.ts';
import { makeNode } from './make-node.ts';
import { open } from './open.ts';
import type { Operation } from './operation.ts';
import { readDirectory } from './read-directory.ts';
import { readLink } from './read-link.ts';
import { removeDirectory } from './remove-directory.ts';
import { rename } from './rename.ts';
import * as replies from './replies.ts';
import { report } from './report.ts';
import * as requests from './requests.ts';
import { setAttributes } from './set-attributes.ts';
import { setLayout } from './set-layout.ts';
import { stat } from './stat.ts';
import { statFileSystem } from './stat-file-system.ts';
import { symlink } from './symlink.ts';
import { unlink } from './unlink.ts';

export interface Served<Request = unknown, Reply = unknown> {
  readonly kind: message.MessageKind;
  readonly name: string;
  readonly updates: boolean;
  /** The request from the bytes behind its header. */
  decode(bytes: Buffer, start: number): Request;
  run(...args: Parameters<Operation<Request, Reply>>): Reply;
  /** The reply without its header. */
  encode(reply: Reply): Uint8Array;
}

function served<Request, Reply>(
  kind: message.MessageKind,
  decode: (bytes: Buffer, start: number) => Request,
  run: Operation<Request, Reply>,
  encode: (reply: Reply) => Uint8Array,
  updates: 'reads' | 'updates',
): Served {
  const whole: Served<Request, Reply> = {
    kind,
    name: run.name,
    updates: updates === 'updates',
    decode,
    run,
    encode,
  };
  return whole as unknown as Served;
}

function generated<Request>(codec: {
  decode(bytes: Uint8Array): Request;
}): (bytes: Buffer, start: number) => Request {
  return (bytes, start) => codec.decode(bytes.subarray(start));
}

const kind = message.MessageKind;
const m = message;

// biome-ignore format: one line each, to be read as a table
export const operations: readonly Served[] = [
  served(kind.KIND_LOOKUP, requests.readLookup, lookup, replies.inode, 'reads'),
  served(kind.KIND_STAT, requests.readStat, stat, replies.inode, 'reads'),
  served(kind.KIND_OPEN, requests.readOpen, open, replies.open, 'updates'),
  served(kind.KIND_CREATE, requests.readCreate, create, replies.open, 'updates'),
  served(kind.KIND_CLOSE, requests.readClose, close, replies.inode, 'updates'),
  served(kind.KIND_REPORT, generated(m.ReportRequest), report, replies.inode, 'updates'),
  served(kind.KIND_MAKE_DIRECTORY, generated(m.MakeDirectoryRequest), makeDirectory, replies.inode, 'updates'),
  served(kind.KIND_MAKE_NODE, generated(m.MakeNodeRequest), makeNode, replies.inode, 'updates'),
  served(kind.KIND_SYMLINK, generated(m.SymlinkRequest), symlink, replies.inode, 'updates'),
  served(kind.KIND_LINK, generated(m.LinkRequest), link, replies.inode, 'updates'),
  served(kind.KIND_UNLINK, generated(m.UnlinkRequest), unlink, replies.empty, 'updates'),
  served(kind.KIND_REMOVE_DIRECTORY, generated(m.RemoveDirectoryRequest), removeDirectory, replies.empty, 'updates'),
  served(kind.KIND_RENAME, generated(m.RenameRequest), rename, replies.empty, 'updates'),
  served(kind.KIND_READ_DIRECTORY, generated(m.ReadDirectoryRequest), readDirectory, replies.list, 'reads'),
  served(kind.KIND_SET_ATTRIBUTES, generated(m.SetAttributesRequest), setAttributes, replies.inode, 'updates'),
  served(kind.KIND_READ_LINK, generated(m.ReadLinkRequest), readLink, replies.target, 'reads'),
  served(kind.KIND_STAT_FILE_SYSTEM, generated(m.StatFileSystemRequest), statFileSystem, replies.fileSystem, 'reads'),
  served(kind.KIND_SET_LAYOUT, generated(m.SetLayoutRequest), setLayout, replies.inode, 'updates'),
];
