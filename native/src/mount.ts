// The native mount: the kernel's requests are answered by native threads. JavaScript starts it, shows its
// figures, ends it.
import { binding } from './binding.ts';
import { type ClientOptions, clientSettings } from './client.ts';
import { settled } from './failure.ts';
import type { RawClientFigures, RawMount, RawOperationFigures } from './raw.ts';

export interface MountOptions extends ClientOptions {
  /** An existing directory. */
  mountpoint: string;
  /** Direct I/O, nothing cached (P20). */
  withoutCache?: boolean;
  /** Other users of this machine may use it. */
  allowOther?: boolean;
  /** The kernel's read-ahead per file. */
  readAheadBytes?: number;
  /** Threads that may wait for the metadata service at once. */
  threadsMax?: number;
}

export class Mount {
  readonly #raw: RawMount;

  /** When the cluster answers and the kernel has mounted. */
  static async start(options: MountOptions): Promise<Mount> {
    const settings = {
      client: clientSettings(options),
      mountpoint: options.mountpoint,
      withoutCache: options.withoutCache ?? false,
      allowOther: options.allowOther ?? process.getuid?.() === 0,
      readAheadBytes: options.readAheadBytes ?? 4 << 20,
      threadsMax: options.threadsMax ?? 64,
    };
    return new Mount(await settled(() => binding().NativeMount.start(settings)));
  }

  private constructor(raw: RawMount) {
    this.#raw = raw;
  }

  /** Settled when the mount has ended, also by umount(8). */
  ended(): Promise<void> {
    return settled(() => this.#raw.ended());
  }

  /** After the patience, files that are still open fail. */
  unmount(patienceMs: number): Promise<void> {
    return settled(() => this.#raw.unmount(patienceMs));
  }

  /** Requests of the kernel so far, by operation. */
  operations(): RawOperationFigures[] {
    return this.#raw.operations();
  }

  inFlight(): number {
    return this.#raw.inFlight();
  }

  openFiles(): number {
    return this.#raw.openFiles();
  }

  figures(): RawClientFigures {
    return this.#raw.figures();
  }
}
