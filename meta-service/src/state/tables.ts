// What is stored in each table of the state: how a record becomes bytes and back. Hot records have codecs made by hand, the
// others use the generated ones; every record carries a version (P27).
import { message } from '@catena/core';
import { checkVersion, type Entry, encodeEntry, encodeInode, readEntry, readInode } from './inode-codec.ts';

export interface Table<Value> {
  readonly name: string;
  encode(value: Value): Uint8Array;
  /** The bytes may be the store's own memory: nothing of them may be kept. */
  decode(bytes: Uint8Array): Value;
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
    encode: (value) => codec.encode(value).finish(),
    decode(bytes) {
      // The copy is for byte fields, which the generated code leaves as views of its input.
      const value = codec.decode(Buffer.from(bytes));
      checkVersion(name, value.recordVersion, recordVersion);
      return value;
    },
  };
}

export const inodes: Table<message.Inode> = { name: 'inode', encode: encodeInode, decode: readInode };
export const entries: Table<Entry> = { name: 'directory entry', encode: encodeEntry, decode: readEntry };
export const sessions = generated('session', message.SessionRecord);
export const clients = generated('client', message.ClientRecord);
export const answers = generated('kept answer', message.KeptAnswer);
export const removals = generated('removal', message.RemovalIntent);
export const truncations = generated('truncation', message.TruncateIntent);
/** Files without a name that are still open: what will be removed when the last session closes. */
export const orphans = generated('orphan', message.RemovalIntent);
export const counters = generated('counter', message.CounterRecord);
export const positions = generated('position', message.PositionRecord);
export const identities = generated('metadata store', message.MetadataStoreRecord);
