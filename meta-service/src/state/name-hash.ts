// The order of entries in a directory. An entry's key, and its offset in a listing, is a hash of its name:
// looking up a name is one read, an offset stays valid while other entries come and go, and a program that
// renames what it lists comes to an end. Never change the hash: it is part of the stored format.

/** Low bits of an offset that tell apart entries whose names have the same hash. */
export const collisionBits = 7n;

/**
 * 53 bits of hash above 7 bits of zeros: below 2^63, because offsets are signed in every kernel, and never below
 * 128.
 */
export function nameOffset(name: Uint8Array): bigint {
  // Two multiplicative hashes of 32 bits with a final mix each (as in MurmurHash3).
  let a = 0x9747b28c ^ name.length;
  let b = 0x3c6ef372;
  for (let at = 0; at < name.length; at++) {
    const byte = name[at]!;
    a = Math.imul(a ^ byte, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b + byte, 0x85ebca6b);
    b ^= b >>> 13;
  }
  const low = mixed(a) >>> 0;
  const high = mixed(b ^ a) & 0x1fffff;
  const hash = high * 0x1_0000_0000 + low;
  return (hash === 0 ? 1n : BigInt(hash)) << collisionBits;
}

function mixed(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
