// The native storage server: one per storage node's process. Reads and writes never enter JavaScript.
import { message } from '@catena/core';
import { binding } from './binding.ts';
import { settled } from './failure.ts';
import type { RawCounter, RawStorageServer, RawStorageSettings } from './raw.ts';

export type StorageServerOptions = Omit<RawStorageSettings, 'managers' | 'disks' | 'media'> & {
  readonly managers: readonly string[];
  /** Data directories; their order is their number in the chain table. */
  readonly disks: readonly string[];
  /** `buffered` or `direct`, of each disk. */
  readonly media: readonly string[];
};

export class StorageServer {
  readonly #raw: RawStorageServer;

  /** Opens every target, listens, and registers with the manager when that answers. */
  static async start(options: StorageServerOptions): Promise<StorageServer> {
    const { managers, disks, media } = options;
    const settings = { ...options, managers: [...managers], disks: [...disks], media: [...media] };
    return new StorageServer(await settled(() => binding().NativeStorageServer.start(settings)));
  }

  private constructor(raw: RawStorageServer) {
    this.#raw = raw;
  }

  /** Where it listens. */
  get address(): string {
    return this.#raw.address();
  }

  /** Rises with each start. */
  get incarnation(): bigint {
    return this.#raw.incarnation();
  }

  /** What the heartbeats say of each target. */
  targets(): message.TargetReport[] {
    return this.#raw.targets().map((bytes) => message.TargetReport.decode(bytes));
  }

  /** For /metrics; every one rises only. */
  counters(): RawCounter[] {
    return this.#raw.counters();
  }

  /** Serves nothing any more, flushes, gives its lease back. */
  stop(): Promise<void> {
    return settled(() => this.#raw.stop());
  }
}
