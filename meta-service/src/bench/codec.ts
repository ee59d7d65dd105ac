// What the hot codecs cost: node dist/bench/codec.js [--json]. An inode of 21 fields, none of them zero, each
// way, by hand and by the generated code; and what a 64-bit number costs as a bigint on the ways it takes.
import { writeSync } from 'node:fs';
import { message } from '@catena/core';
import { readInode, writeInode } from '../state/inode-codec.ts';
import { inodeKey } from '../state/keys.ts';
import { Writer } from '../state/protobuf.ts';

const rounds = 200_000;
const repeats = 7;

/** Nanoseconds of one call: the best of several rounds, because other processes only ever add. */
function measure(act: (index: number) => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < repeats; repeat++) {
    const started = process.hrtime.bigint();
    for (let index = 0; index < rounds; index++) kept = act(index);
    best = Math.min(best, Number(process.hrtime.bigint() - started) / rounds);
  }
  return Math.round(best);
}
let kept: unknown;
const scratch = Buffer.alloc(9);

const inodes = Array.from({ length: 64 }, (_, index): message.Inode => {
  const number = BigInt(index);
  return {
    recordVersion: 1,
    id: (77n << 48n) + 1_000_000n + number,
    type: 6,
    mode: 0o644,
    uid: 1000,
    gid: 1000,
    nlink: 1,
    length: 3_000_000_000n + number,
    atimeNs: 1_795_000_000_123_456_789n,
    mtimeNs: 1_795_000_000_123_456_789n + number,
    ctimeNs: 1_795_000_000_123_456_789n + number,
    createdNs: 1_795_000_000_123_456_789n,
    generation: 2n,
    parent: (99n << 48n) + 7n,
    device: 0x0801,
    flags: 3,
    blocksBytes: 3_000_000_512n,
    symlink: Buffer.from('over/there'),
    layout: { table: 1, tableVersion: 3, chunkSize: 1 << 20, stripe: 16, first: 5, flushEachWrite: true },
    entries: 12n,
    change: 42n + number,
  };
});
const encoded = inodes.map((inode) => Buffer.from(message.Inode.encode(inode).finish()));
const writer = new Writer(1 << 16);

const results = {
  inodeBytes: encoded[0]!.length,
  handEncodeNs: measure((index) => {
    writer.position = 0;
    writeInode(writer, inodes[index & 63]!);
    return writer.position;
  }),
  handEncodeAndCopyNs: measure((index) => {
    writer.position = 0;
    writeInode(writer, inodes[index & 63]!);
    return writer.copy();
  }),
  handDecodeNs: measure((index) => readInode(encoded[index & 63]!)),
  generatedEncodeNs: measure((index) => message.Inode.encode(inodes[index & 63]!).finish()),
  generatedDecodeNs: measure((index) => message.Inode.decode(encoded[index & 63]!)),
  keyOfBigintNs: measure((index) => inodeKey(inodes[index & 63]!.id)),
  keyOfHalvesNs: measure((index) => keyOfHalves(77 << 16, 1_000_000 + (index & 63))),
  bigintAddNs: measure((index) => inodes[index & 63]!.change + 1n),
  copyWithChangeNs: measure((index) => {
    const inode = inodes[index & 63]!;
    return { ...inode, change: inode.change + 1n };
  }),
};

/** The same key from two 32-bit numbers. */
function keyOfHalves(high: number, low: number): string {
  scratch[0] = 0x49;
  scratch.writeUInt32BE(high, 1);
  scratch.writeUInt32BE(low, 5);
  return scratch.toString('latin1', 0, 9);
}

if (process.argv.includes('--json')) {
  writeSync(1, `${JSON.stringify(results)}\n`);
} else {
  for (const [name, value] of Object.entries(results)) writeSync(1, `${name.padEnd(22)} ${value}\n`);
}
if (kept === undefined) throw new Error('nothing was measured');
