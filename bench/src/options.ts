// The options of `catena bench`, named as fio names them, and their defaults.
import { FsError } from '@catena/core';

export const engines = ['posix', 'client', 'noop'] as const;
export type EngineName = (typeof engines)[number];
export const patterns = ['read', 'write', 'randread', 'randwrite'] as const;
export type PatternName = (typeof patterns)[number];

export interface BenchOptions {
  readonly engine: EngineName;
  /** posix: a folder of any file system; client: a folder of Catena's, as a path in it. */
  readonly directory: string;
  readonly managers: readonly string[];
  readonly rw: PatternName;
  readonly blockBytes: number;
  readonly depth: number;
  readonly jobs: number;
  readonly sizeBytes: number;
  /** 0: each block once. */
  readonly runtimeMs: number;
  /** Operations between two fsyncs; 0: only the one at the end. */
  readonly fsyncEvery: number;
  readonly fsyncAtEnd: boolean;
  readonly verify: boolean;
  readonly seed: number;
  /** posix: past the page cache (O_DIRECT). */
  readonly direct: boolean;
}

export const defaults: BenchOptions = {
  engine: 'posix',
  directory: '.',
  managers: ['127.0.0.1:7400'],
  rw: 'read',
  blockBytes: 1 << 20,
  depth: 1,
  jobs: 1,
  sizeBytes: 256 << 20,
  runtimeMs: 0,
  fsyncEvery: 0,
  fsyncAtEnd: true,
  verify: false,
  seed: 1,
  direct: false,
};

const units: Record<string, number> = { '': 1, k: 1 << 10, m: 1 << 20, g: 1 << 30, t: 2 ** 40 };

/** `4k`, `1M`, `2g`, `512` as bytes; or an error that names what it is the size of. */
export function parseSize(text: string, what = 'size'): number {
  const [, digits, unit] = /^(\d+)([kmgt]?)i?b?$/i.exec(text) ?? [];
  const bytes = Number(digits) * (units[unit?.toLowerCase() ?? ''] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new FsError(
      'INVALID_ARGUMENT',
      `${what} '${text}': expected a number with k, m, g or t, such as 4k or 1g`,
    );
  }
  return bytes;
}

/** `10`, `10s`, `500ms`, `2m` as milliseconds; a bare number is seconds, as in fio; or an error that names it. */
export function parseTime(text: string, what = 'time'): number {
  const [, digits, unit] = /^(\d+)(ms|s|m|h)?$/.exec(text) ?? [];
  const factor = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit ?? 's'];
  const ms = Number(digits) * (factor ?? Number.NaN);
  if (!Number.isSafeInteger(ms)) {
    throw new FsError(
      'INVALID_ARGUMENT',
      `${what} '${text}': expected a number with ms, s, m or h, such as 10s`,
    );
  }
  return ms;
}

/** One of the words, or an error that names them. */
export function oneOf<Word extends string>(words: readonly Word[], what: string): (text: string) => Word {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined)
      throw new FsError('INVALID_ARGUMENT', `${what} '${text}': expected ${words.join(', ')}`);
    return found;
  };
}
