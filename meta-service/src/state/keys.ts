// Keys of the state, as text of one character per byte (latin1): JavaScript compares and hashes such strings
// natively, and their order is that of the bytes in the store. One letter names the table; numbers are
// big-endian, so that a range of keys is a directory, a file's sessions, a client's answers. Keys are part of
// the stored format: never change one.

const scratch = Buffer.alloc(17);

export const tableTag = {
  inode: 'I',
  entry: 'E',
  session: 'S',
  client: 'C',
  answer: 'A',
  removal: 'R',
  truncation: 'T',
  orphan: 'O',
  counter: 'N',
} as const;

/**
 * The record with the applied position and the one that says whose data these are; they are never part of a log
 * record.
 */
export const positionKey = 'P';
export const identityKey = 'M';

// A 64-bit number in two 32-bit halves: Buffer's own writer does a dozen steps of bigint arithmetic for each.
const scratch64 = new BigUint64Array(1);
const scratch32 = new Uint32Array(scratch64.buffer);

function writeNumber(number: bigint, at: number): void {
  scratch64[0] = number;
  const low = scratch32[0]!;
  const high = scratch32[1]!;
  scratch[at] = high >>> 24;
  scratch[at + 1] = high >>> 16;
  scratch[at + 2] = high >>> 8;
  scratch[at + 3] = high;
  scratch[at + 4] = low >>> 24;
  scratch[at + 5] = low >>> 16;
  scratch[at + 6] = low >>> 8;
  scratch[at + 7] = low;
}

function numbered(tag: string, number: bigint): string {
  scratch[0] = tag.charCodeAt(0);
  writeNumber(number, 1);
  return scratch.toString('latin1', 0, 9);
}

function numberedTwice(tag: string, first: bigint, second: bigint): string {
  scratch[0] = tag.charCodeAt(0);
  writeNumber(first, 1);
  writeNumber(second, 9);
  return scratch.toString('latin1', 0, 17);
}

export const inodeKey = (id: bigint): string => numbered(tableTag.inode, id);
export const entryKey = (parent: bigint, offset: bigint): string =>
  numberedTwice(tableTag.entry, parent, offset);
/** What every entry of this directory begins with. */
export const entriesPrefix = (parent: bigint): string => numbered(tableTag.entry, parent);
export const sessionKey = (inode: bigint, session: bigint): string =>
  numberedTwice(tableTag.session, inode, session);
export const removalKey = (inode: bigint): string => numbered(tableTag.removal, inode);
export const truncationKey = (inode: bigint): string => numbered(tableTag.truncation, inode);
export const orphanKey = (inode: bigint): string => numbered(tableTag.orphan, inode);
export const counterKey = (name: string): string => `${tableTag.counter}${name}`;
export const clientKey = (client: string): string => `${tableTag.client}${client}`;
/**
 * Kept answers of a client live in as many slots as it may have unanswered requests, so that a new one replaces an
 * old one.
 */
export const answerKey = (client: string, slot: number): string =>
  `${tableTag.answer}${client}${String.fromCharCode(slot)}`;

/** A client's 16 bytes as text, as keys hold it. */
export const clientText = (client: Uint8Array): string =>
  Buffer.from(client.buffer, client.byteOffset, client.byteLength).toString('latin1');

export const keyBytes = (key: string): Buffer => Buffer.from(key, 'latin1');

/** The number that a key of a numbered table ends in. */
export function lastNumber(key: string): bigint {
  return Buffer.from(key.slice(-8), 'latin1').readBigUInt64BE();
}

/** The least key above every key that begins with `prefix`. */
export function prefixEnd(prefix: string): string {
  let last = prefix.length - 1;
  while (last >= 0 && prefix.charCodeAt(last) === 0xff) last--;
  return prefix.slice(0, last) + String.fromCharCode(prefix.charCodeAt(last) + 1);
}
