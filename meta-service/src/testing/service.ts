// A metadata partition for tests: the product's own code on memory backends (products themselves, which pass
// the same suites), with a client that speaks the messages as bytes. It can be killed at any moment: what was
// not in the log is gone.
import {
  FsError,
  featureLevel,
  type KeyValueStore,
  ManualClock,
  MemoryLogMedium,
  MemoryStoreMedium,
  message,
  openMemoryLog,
  openMemoryStore,
} from '@catena/core';
import { MemoryChunkStore } from '../chunks/memory-chunk-store.ts';
import type { Space } from '../operations/operation.ts';
import { readHeader } from '../operations/requests.ts';
import { operations, type Served } from '../operations/served.ts';
import { Partition, type PartitionOptions } from '../owner/partition.ts';
import { TableLayouts } from '../server/layouts.ts';

export const chains = 4;

export function layouts(): TableLayouts {
  const made = new TableLayouts({ chunkSizeBytes: 1 << 20, stripe: 16 });
  made.use([{ id: 1, version: 3, chains: [11, 12, 13, 14], lengths: [1, 2] }]);
  return made;
}

export const space: Space = { capacityBytes: 1n << 40n, usedBytes: 5n << 30n };

export interface TestServiceOptions extends Partial<PartitionOptions> {
  /** Instead of the store in memory. */
  readonly openStore?: () => Promise<KeyValueStore>;
}

export class TestService {
  readonly logMedium = new MemoryLogMedium();
  readonly storeMedium = new MemoryStoreMedium();
  readonly chunks = new MemoryChunkStore();
  readonly clock = new ManualClock();
  readonly failures: FsError[] = [];
  /** The newest that the release knows which is opened next (P27). */
  featureLevel = featureLevel;
  readonly #options: Partial<PartitionOptions>;
  readonly #openStore: (() => Promise<KeyValueStore>) | undefined;
  #store: KeyValueStore | undefined;
  #partition: Partition | undefined;

  constructor({ openStore, ...options }: TestServiceOptions = {}) {
    this.#options = options;
    this.#openStore = openStore;
  }

  get partition(): Partition {
    if (this.#partition === undefined) throw new Error('the service is not open');
    return this.#partition;
  }

  async open(): Promise<this> {
    await this.#store?.close();
    this.#store = this.#openStore === undefined ? openMemoryStore(this.storeMedium) : await this.#openStore();
    this.#partition = await Partition.open({
      store: this.#held(this.#store),
      openLog: (floor) => openMemoryLog(this.logMedium, floor),
      chunks: this.chunks,
      clock: this.clock,
      environment: { layouts: layouts(), space: () => space },
      onFailure: (error) => this.failures.push(error),
      featureLevel: this.featureLevel,
      ...this.#options,
    });
    return this;
  }

  /** Set: writes of the store wait for it. */
  beforeStoreWrite: (() => Promise<void>) | undefined;

  #held(store: KeyValueStore): KeyValueStore {
    const write = store.write.bind(store);
    store.write = async (changes, position) => {
      await this.beforeStoreWrite?.();
      return write(changes, position);
    };
    return store;
  }

  /** As kill -9: the log and the store keep what they were given, everything else is gone. */
  kill(): void {
    const dead = this.partition;
    this.#partition = undefined;
    // Whatever the dead process would still do must reach neither medium.
    dead.abandon();
  }

  async reopen(): Promise<this> {
    this.kill();
    return this.open();
  }

  async close(): Promise<void> {
    await this.partition.close();
    this.#partition = undefined;
  }

  /** Lets timers that fall due, and the work behind them, run. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      this.clock.advance(Math.min(50, left));
      await settle();
    }
  }
}

/** Until promises and immediates that are under way are done. */
export async function settle(rounds = 12): Promise<void> {
  for (let round = 0; round < rounds; round++) await new Promise<void>((resolve) => setImmediate(resolve));
}

const byName = new Map<string, Served>(operations.map((operation) => [operation.name, operation]));

interface Codec<T> {
  encode(value: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
  fromPartial(object: object): T;
}
/** Every operation with its messages. */
export interface Messages {
  lookup: [message.LookupRequest, message.InodeReply];
  stat: [message.StatRequest, message.InodeReply];
  open: [message.OpenRequest, message.OpenReply];
  create: [message.CreateRequest, message.OpenReply];
  close: [message.CloseRequest, message.InodeReply];
  report: [message.ReportRequest, message.InodeReply];
  makeDirectory: [message.MakeDirectoryRequest, message.InodeReply];
  makeNode: [message.MakeNodeRequest, message.InodeReply];
  symlink: [message.SymlinkRequest, message.InodeReply];
  link: [message.LinkRequest, message.InodeReply];
  unlink: [message.UnlinkRequest, message.EmptyReply];
  removeDirectory: [message.RemoveDirectoryRequest, message.EmptyReply];
  rename: [message.RenameRequest, message.EmptyReply];
  readDirectory: [message.ReadDirectoryRequest, message.ReadDirectoryReply];
  setAttributes: [message.SetAttributesRequest, message.InodeReply];
  readLink: [message.ReadLinkRequest, message.ReadLinkReply];
  statFileSystem: [message.StatFileSystemRequest, message.StatFileSystemReply];
  setLayout: [message.SetLayoutRequest, message.InodeReply];
}
type Codecs = {
  readonly [Name in keyof Messages]: readonly [Codec<Messages[Name][0]>, Codec<Messages[Name][1]>];
};
/** The generated ones, so that tests see what travels. */
const codecs: Codecs = {
  lookup: [message.LookupRequest, message.InodeReply],
  stat: [message.StatRequest, message.InodeReply],
  open: [message.OpenRequest, message.OpenReply],
  create: [message.CreateRequest, message.OpenReply],
  close: [message.CloseRequest, message.InodeReply],
  report: [message.ReportRequest, message.InodeReply],
  makeDirectory: [message.MakeDirectoryRequest, message.InodeReply],
  makeNode: [message.MakeNodeRequest, message.InodeReply],
  symlink: [message.SymlinkRequest, message.InodeReply],
  link: [message.LinkRequest, message.InodeReply],
  unlink: [message.UnlinkRequest, message.EmptyReply],
  removeDirectory: [message.RemoveDirectoryRequest, message.EmptyReply],
  rename: [message.RenameRequest, message.EmptyReply],
  readDirectory: [message.ReadDirectoryRequest, message.ReadDirectoryReply],
  setAttributes: [message.SetAttributesRequest, message.InodeReply],
  readLink: [message.ReadLinkRequest, message.ReadLinkReply],
  statFileSystem: [message.StatFileSystemRequest, message.StatFileSystemReply],
  setLayout: [message.SetLayoutRequest, message.InodeReply],
};

export type OperationName = keyof Messages;
export type RequestOf<Name extends OperationName> = Messages[Name][0];
export type ReplyOf<Name extends OperationName> = Messages[Name][1];
type Part<T> = T extends bigint | Uint8Array ? T : T extends object ? { [Key in keyof T]?: Part<T[Key]> } : T;
export type Body<Name extends OperationName> = Part<Omit<RequestOf<Name>, 'header'>>;

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
}
export const root: User = { uid: 0, gid: 0 };

export interface Sending {
  readonly user?: User;
  /** A number of the caller's, to repeat a request. */
  readonly sequence?: bigint;
  readonly answeredUpTo?: bigint;
  readonly deadlineMs?: number;
}

export class TestClient {
  readonly id: Buffer;
  readonly #service: TestService;
  #next = 1n;
  #unanswered = new Set<bigint>();

  constructor(service: TestService, name = 'client') {
    this.#service = service;
    this.id = Buffer.alloc(16);
    this.id.write(name);
  }

  async hello(): Promise<this> {
    const header = message.RequestHeader.fromPartial({ client: this.id });
    const request = { header, host: 'test', featureLevel: 1 };
    await new Promise((resolve) => this.#service.partition.greet(request, resolve));
    return this;
  }

  /** From this number on, no answer counts as arrived until another call of this. */
  unconfirmedFrom: bigint | undefined;

  nextSequence(): bigint {
    return this.#next++;
  }

  /** The reply, or the error as the service sent it. */
  call<Name extends OperationName>(
    name: Name,
    body: Body<Name>,
    sending: Sending = {},
  ): Promise<ReplyOf<Name>> {
    const operation = byName.get(name)!;
    const sequence = sending.sequence ?? (operation.updates ? this.nextSequence() : 0n);
    const { user = root } = sending;
    const [request, reply] = codecs[name] as unknown as [Codec<object>, Codec<ReplyOf<Name>>];
    if (operation.updates) this.#unanswered.add(sequence);
    const first = this.unconfirmedFrom ?? this.#next;
    const below = [...this.#unanswered].reduce((least, each) => (each < least ? each : least), first);
    const header = {
      requestId: 7n,
      deadlineMs: sending.deadlineMs ?? 0,
      client: this.id,
      sequence,
      answeredUpTo: sending.answeredUpTo ?? below - 1n,
      user: { uid: user.uid, gid: user.gid, groups: [...(user.groups ?? [])], pid: 0 },
    };
    const bytes = Buffer.from(request.encode(request.fromPartial({ ...(body as object), header })).finish());
    const read = readHeader(bytes);
    return new Promise((resolve, reject) => {
      const settled = (): void => {
        this.#unanswered.delete(sequence);
      };
      try {
        this.#service.partition.owner.serve(operation, read.header, operation.decode(bytes, read.bodyStart), {
          done: (answer) => {
            settled();
            resolve(reply.decode(answer));
          },
          failed: (error) => {
            settled();
            reject(error);
          },
        });
      } catch (error) {
        reject(error);
      }
    });
  }
}

/** The error's code of a call that is refused. */
export async function refused(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
  throw new Error('the call was not refused');
}

export const name = (text: string): Buffer => Buffer.from(text);
