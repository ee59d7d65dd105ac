// An open file of the SDK. Buffers go directly between the caller and native code: a buffer that is being
// written must not change before its promise settles; a buffer that was read is the caller's.
import type { File } from '@catena/native';
import { type FileStats, statsOf } from './stats.ts';

/** Largest single native read; longer ones are put together from several. */
const readBytesMax = 8 << 20;

export class FileHandle {
  readonly #file: File;
  readonly #stat: (inode: bigint) => Promise<FileStats>;

  constructor(file: File, stat: (inode: bigint) => Promise<FileStats>) {
    this.#file = file;
    this.#stat = stat;
  }

  get inode(): bigint {
    return this.#file.attributes().id;
  }

  /** Up to `length` bytes from `position`; fewer at the end of the file, none behind it. */
  async read(position: number | bigint, length: number): Promise<Buffer> {
    if (length <= readBytesMax) return this.#file.read(BigInt(position), length);
    const whole = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const wanted = Math.min(readBytesMax, length - done);
      const part = await this.#file.read(BigInt(position) + BigInt(done), wanted);
      whole.set(part, done);
      done += part.length;
      if (part.length < wanted) break;
    }
    return whole.subarray(0, done);
  }

  /** All bytes, once every copy holds them. Overlapping writes apply in the order of their calls. */
  write(position: number | bigint, data: Uint8Array): Promise<void> {
    return this.#file.write(BigInt(position), data);
  }

  /** Everything written so far, and the length, is on the medium of every copy. */
  fsync(): Promise<void> {
    return this.#file.fsync();
  }

  /** Asks the metadata service. */
  stat(): Promise<FileStats> {
    return this.#stat(this.inode);
  }

  /** As far as this handle knows, without asking. */
  knownStats(): FileStats {
    return statsOf(this.#file.attributes());
  }

  /** Tells the metadata service the length. Once; the handle is void afterwards. */
  close(): Promise<void> {
    return this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
