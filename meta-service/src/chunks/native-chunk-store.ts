// Chunks on the storage servers, through the native client. It connects on first use: the service starts and
// answers without manager and storage servers, only work on chunks waits for them.
import type { message } from '@catena/core';
import { Client } from '@catena/native';
import type { Space } from '../operations/operation.ts';
import type { ChunkStore } from './chunk-store.ts';

export interface NativeChunkStoreOptions {
  readonly managers: readonly string[];
  /** Of this service's data; empty: any. */
  cluster(): string;
}

/** One attempt; whoever needs the chunks repeats it with pauses. */
const connectTimeoutMs = 5_000;

/**
 * Likewise one attempt, which holds a lane and a thread while a chain is away: long enough for one request that got
 * lost (15 s), and short beside the minute for which a client waits for its truncation.
 */
const ioTimeoutMs = 20_000;

/** The bound of its buffers: trimming writes a chunk's tail at most. */
const writeBytesMax = 8 << 20;

export class NativeChunkStore implements ChunkStore {
  readonly #options: NativeChunkStoreOptions;
  #connecting: Promise<Client> | undefined;

  constructor(options: NativeChunkStoreOptions) {
    this.#options = options;
  }

  async remove(inode: bigint, layout: message.Layout, length: bigint): Promise<void> {
    await (await this.#client()).removeChunks(inode, layout, length);
  }

  async truncate(
    inode: bigint,
    layout: message.Layout,
    length: bigint,
    oldLength: bigint | undefined,
  ): Promise<void> {
    await (await this.#client()).truncateChunks(inode, layout, length, oldLength);
  }

  async queryLength(inode: bigint, layout: message.Layout): Promise<bigint> {
    return (await this.#client()).queryLength(inode, layout);
  }

  async space(): Promise<Space> {
    return (await this.#client()).space();
  }

  async close(): Promise<void> {
    const client = await this.#connecting?.catch(() => undefined);
    await client?.stop();
  }

  /** A connection that fails is forgotten, so that the next call tries anew. */
  #client(): Promise<Client> {
    if (this.#connecting !== undefined) return this.#connecting;
    const { managers, cluster } = this.#options;
    const connecting = Client.connect({
      managers,
      cluster: cluster(),
      host: 'meta',
      connectTimeoutMs,
      ioTimeoutMs,
      writeBytesMax,
      withoutNames: true,
    });
    this.#connecting = connecting;
    connecting.catch(() => {
      this.#connecting = undefined;
    });
    return connecting;
  }
}
