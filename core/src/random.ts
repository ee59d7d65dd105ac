// Randomness as a thing that is handed in: real for ids, seeded for simulation and back-off. Only this file
// draws it.
import { randomBytes as systemRandomBytes } from 'node:crypto';

export interface Random {
  bytes(length: number): Buffer;
  /** In [0, 1). */
  fraction(): number;
}

export const realRandom: Random = {
  bytes: (length) => systemRandomBytes(length),
  fraction: () => systemRandomBytes(4).readUInt32LE() / 2 ** 32,
};

/** The same numbers for the same seed, for ever (sfc32). Never for ids that must be unique in the world. */
export function seededRandom(seed: number): Random {
  let a = 0;
  let b = seed | 0;
  let c = (seed ^ 0x9e3779b9) | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 12; round++) next();
  return {
    bytes: (length) => Buffer.from(Uint8Array.from({ length }, () => next() & 0xff)),
    fraction: () => next() / 2 ** 32,
  };
}
