// Are the copies of a chain equal? Its members list their chunks in one order, so that page stands beside page and
// nothing but the pages at hand is held, however large a chain is.
import type { message } from '@catena/core';

/** Chunks of one answer: each is read whole for its digest, and the answer must come within the rpc's deadline. */
const pageChunks = 64;
/** A chunk that is being written differs for a moment: so often is it looked at again before it counts. */
const looksMax = 5;

export type ChunkPage = Pick<message.ListChunksReply, 'chunks' | 'more'>;

/** One member's copy. */
export interface Copy {
  readonly target: bigint;
  /** Chunks from this id on, at most so many, in the order of their ids. */
  readonly list: (from: message.ChunkId, limit: number) => Promise<ChunkPage>;
}

export interface Difference {
  /** `inode/index` */
  readonly chunk: string;
  /** What each copy holds. */
  readonly what: string;
}

export interface Comparison {
  readonly chunks: number;
  readonly differences: readonly Difference[];
}

/** `pause`: between two looks at a chunk that differs. */
export async function compareCopies(
  copies: readonly Copy[],
  pause: () => Promise<void>,
): Promise<Comparison> {
  const readers = copies.map((copy) => new CopyReader(copy));
  const differences: Difference[] = [];
  let chunks = 0;
  for (;;) {
    const heads = await Promise.all(readers.map((reader) => reader.head()));
    const chunk = heads.map((head) => head?.chunk).reduce(smaller, undefined);
    if (chunk === undefined) return { chunks, differences };
    chunks++;
    const found = heads.map((head) => (isAt(head, chunk) ? head : undefined));
    for (const [index, reader] of readers.entries()) if (found[index] !== undefined) reader.next();
    if (areEqual(found)) continue;
    const last = await lookAgain(copies, chunk, pause);
    if (last !== undefined)
      differences.push({ chunk: `${chunk.inode}/${chunk.index}`, what: inWords(copies, last) });
  }
}

type Found = message.ChunkInfo | undefined;

/** What the copies hold after the last look; nothing if they were equal at one of them. */
async function lookAgain(
  copies: readonly Copy[],
  chunk: message.ChunkId,
  pause: () => Promise<void>,
): Promise<Found[] | undefined> {
  let found: Found[] = [];
  for (let look = 0; look < looksMax; look++) {
    await pause();
    const pages = await Promise.all(copies.map((copy) => copy.list(chunk, 1)));
    found = pages.map((page) => page.chunks.find((info) => !info.removed && isAt(info, chunk)));
    if (areEqual(found)) return undefined;
  }
  return found;
}

/** A member's chunks one after another, a page ahead at most. */
class CopyReader {
  readonly #copy: Copy;
  #page: message.ChunkInfo[] = [];
  #at = 0;
  #from: message.ChunkId | undefined = { inode: 0n, index: 0n };

  constructor(copy: Copy) {
    this.#copy = copy;
  }

  /** Nothing at the end. */
  async head(): Promise<Found> {
    while (this.#at === this.#page.length && this.#from !== undefined) {
      const { chunks, more } = await this.#copy.list(this.#from, pageChunks);
      const last = chunks.at(-1)?.chunk;
      this.#from = more && last !== undefined ? { inode: last.inode, index: last.index + 1n } : undefined;
      this.#page = chunks.filter(({ chunk, removed }) => chunk !== undefined && !removed);
      this.#at = 0;
    }
    return this.#page[this.#at];
  }

  next(): void {
    this.#at++;
  }
}

function smaller(
  first: message.ChunkId | undefined,
  second: message.ChunkId | undefined,
): message.ChunkId | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  if (first.inode !== second.inode) return first.inode < second.inode ? first : second;
  return first.index <= second.index ? first : second;
}

const isAt = (info: Found, chunk: message.ChunkId): boolean =>
  info?.chunk?.inode === chunk.inode && info.chunk.index === chunk.index;

/** What must be equal, in words. Nothing equals damage. */
function content(info: Found): string {
  if (info === undefined) return 'absent';
  const { version, length, digest, corrupt } = info;
  const bytes = corrupt
    ? 'its bytes do not match their checksum'
    : `digest ${Buffer.from(digest).toString('hex')}`;
  return `version ${version?.chain}.${version?.number}, ${length} bytes, ${bytes}`;
}

const areEqual = (found: readonly Found[]): boolean =>
  !found.some((info) => info?.corrupt) && new Set(found.map(content)).size === 1;

const inWords = (copies: readonly Copy[], found: readonly Found[]): string =>
  copies.map(({ target }, index) => `target ${target}: ${content(found[index])}`).join('; ');
