// What is stored in each table of the state: how a record becomes bytes and back. Hot records have codecs
// made by hand, the others use the generated ones; every record carries a version (P27).
import { message } from '@catena/core';
import {
  readAnswer,
  readSession,
  type StoredAnswer,
  type StoredSession,
  writeAnswer,
  writeSession,
} from './client-codec.ts';
import { checkVersion, type Entry, readEntry, readInode, writeEntry, writeInode } from './inode-codec.ts';
import { Writer } from './protobuf.ts';

export interface Table<Value> {
  readonly name: string;
  /** Appends the record; reserves by itself. */
  write(writer: Writer, value: Value): void;
  /** The bytes may be the store's own memory: nothing of them may be kept. */
  decode(bytes: Uint8Array): Value;
}

/** A record in memory of its own, for what is not hot. */
export function encode<Value>(table: Table<Value>, value: Value): Buffer {
  const writer = new Writer(512);
  table.write(writer, value);
  return writer.copy();
}

interface Versioned {
  recordVersion: number;
}
interface GeneratedCodec<Value> {
  encode(value: Value): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Value;
}

export const recordVersion = 1;

function generated<Value extends Versioned>(name: string, codec: GeneratedCodec<Value>): Table<Value> {
  return {
    name,
    write: (writer, value) => writer.append(codec.encode(value).finish()),
    decode(bytes) {
      // The copy is for byte fields, which the generated code leaves as views of its input.
      const value = codec.decode(Buffer.from(bytes));
      checkVersion(name, value.recordVersion, recordVersion);
      return value;
    },
  };
}

export const inodes: Table<message.Inode> = { name: 'inode', write: writeInode, decode: readInode };
export const entries: Table<Entry> = { name: 'directory entry', write: writeEntry, decode: readEntry };
export const sessions: Table<StoredSession> = { name: 'session', write: writeSession, decode: readSession };
export const answers: Table<StoredAnswer> = { name: 'kept answer', write: writeAnswer, decode: readAnswer };
export const clients = generated('client', message.ClientRecord);
export const removals = generated('removal', message.RemovalIntent);
export const truncations = generated('truncation', message.TruncateIntent);
/** Files without a name that are still open: what will be removed when the last session closes. */
export const orphans = generated('orphan', message.RemovalIntent);
export const counters = generated('counter', message.CounterRecord);
export const positions = generated('position', message.PositionRecord);
export const identities = generated('metadata store', message.MetadataStoreRecord);
