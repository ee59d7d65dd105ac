// The native file client: names as messages, open files, and chunks without names. Nothing here retries or
// caches: the client does. Buffers go directly between the caller and native code: a buffer that is written
// must not change before its promise settles; a buffer that was read belongs to the caller.
import { message } from '@catena/core';
import { binding } from './binding.ts';
import { settled } from './failure.ts';
import type { RawClient, RawClientFigures, RawClientSettings, RawFile } from './raw.ts';

export interface ClientOptions {
  /** "host:port" of the managers. */
  managers: readonly string[];
  /** Refuse another cluster; empty: any. */
  cluster?: string;
  /** Shown beside this client's session. */
  host?: string;
  /** How long an operation is retried (P25). */
  ioTimeoutMs?: number;
  /** Retry for ever. */
  hard?: boolean;
  /** How old a file's length may be when a read passes its end. */
  attributeTtlMs?: number;
  /** Bound of the bytes of unacknowledged writes. */
  writeBytesMax?: number;
  connectTimeoutMs?: number;
  /** Chunks only: the metadata service's own client. */
  withoutNames?: boolean;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export interface Place {
  readonly offset: bigint;
  readonly length: bigint;
  /** Storage nodes that serve this range, the chain's head first. */
  readonly nodes: readonly number[];
}

interface Codec<Message> {
  encode(request: Message): { finish(): Uint8Array };
}
interface ReplyCodec<Reply> {
  decode(bytes: Uint8Array): Reply;
}

const rawUser = (user: User) => ({ uid: user.uid, gid: user.gid, groups: [...user.groups] });
const layoutBytes = (layout: message.Layout) => message.Layout.encode(layout).finish();

export function clientSettings(options: ClientOptions): RawClientSettings {
  return {
    managers: [...options.managers],
    cluster: options.cluster ?? '',
    host: options.host ?? '',
    ioTimeoutMs: options.ioTimeoutMs ?? 60_000,
    hard: options.hard ?? false,
    attributeTtlMs: options.attributeTtlMs ?? 1_000,
    writeBytesMax: options.writeBytesMax ?? 32 << 20,
    connectTimeoutMs: options.connectTimeoutMs ?? 30_000,
    withoutNames: options.withoutNames ?? false,
  };
}

export class Client {
  readonly #raw: RawClient;

  /** Waits for a manager, the routing table and (with names) the metadata service; UNREACHABLE with the reason. */
  static async connect(options: ClientOptions): Promise<Client> {
    return new Client(await settled(() => binding().NativeClient.connect(clientSettings(options))));
  }

  private constructor(raw: RawClient) {
    this.#raw = raw;
  }

  /** Reports what open files know, closes connections, ends the client's threads. */
  stop(): Promise<void> {
    return settled(() => this.#raw.stop());
  }

  /** The inode of the root directory. */
  get root(): bigint {
    return this.#raw.root();
  }

  figures(): RawClientFigures {
    return this.#raw.figures();
  }

  /** The routing table as this client knows it. */
  routing(): message.Routing {
    return message.Routing.decode(this.#raw.routing());
  }

  /** Any metadata request but those of open files. */
  async ask<Request, Reply>(
    kind: message.MessageKind,
    request: Request,
    codec: Codec<Request>,
    reply: ReplyCodec<Reply>,
    user: User,
  ): Promise<Reply> {
    const bytes = codec.encode(request).finish();
    return reply.decode(await settled(() => this.#raw.ask(kind, bytes, rawUser(user))));
  }

  /** Flags as in open(2). */
  async open(inode: bigint, flags: number, user: User): Promise<File> {
    return new File(await settled(() => this.#raw.open(inode, flags, rawUser(user))));
  }

  async create(parent: bigint, name: Uint8Array, mode: number, flags: number, user: User): Promise<File> {
    return new File(await settled(() => this.#raw.create(parent, name, mode, flags, rawUser(user))));
  }

  /** No byte at or beyond `length` is left. Answers the change in allocated bytes. May be repeated. */
  truncateChunks(inode: bigint, layout: message.Layout, length: bigint, oldLength?: bigint): Promise<bigint> {
    return settled(() => this.#raw.truncateChunks(inode, layoutBytes(layout), length, oldLength));
  }

  /** No chunk is left. `length`: how far the file reached. Answers the change in allocated bytes. May be repeated. */
  removeChunks(inode: bigint, layout: message.Layout, length: bigint): Promise<bigint> {
    return settled(() => this.#raw.removeChunks(inode, layoutBytes(layout), length));
  }

  /** How far the chunks reach. */
  queryLength(inode: bigint, layout: message.Layout): Promise<bigint> {
    return settled(() => this.#raw.queryLength(inode, layoutBytes(layout)));
  }

  /** What the live storage servers have for files; each copy counted once. */
  space(): Promise<{ capacityBytes: bigint; usedBytes: bigint }> {
    return settled(() => this.#raw.space());
  }

  /** Exactly `length` bytes; zeros where nothing is stored. */
  readChunks(inode: bigint, layout: message.Layout, offset: bigint, length: number): Promise<Buffer> {
    return settled(() => this.#raw.readChunks(inode, layoutBytes(layout), offset, length));
  }

  writeChunks(inode: bigint, layout: message.Layout, offset: bigint, data: Uint8Array): Promise<void> {
    return settled(() => this.#raw.writeChunks(inode, layoutBytes(layout), offset, data));
  }

  /** On the medium of every member of every chain that holds a file of this layout below `length`. */
  flushChunks(layout: message.Layout, length: bigint): Promise<void> {
    return settled(() => this.#raw.flushChunks(layoutBytes(layout), length));
  }

  locate(layout: message.Layout, offset: bigint, length: bigint): Promise<Place[]> {
    return settled(() => this.#raw.locate(layoutBytes(layout), offset, length));
  }
}

/** One open file. */
export class File {
  readonly #raw: RawFile;

  constructor(raw: RawFile) {
    this.#raw = raw;
  }

  /** As this client knows it, with its own writes. */
  attributes(): message.Inode {
    return message.Inode.decode(this.#raw.attributes());
  }

  /** At most 64 MiB; fewer bytes at the end of the file. */
  read(offset: bigint, length: number): Promise<Buffer> {
    return settled(() => this.#raw.read(offset, length));
  }

  /** Answered when every serving member holds it. Writes that overlap apply in the order of their calls. */
  write(offset: bigint, data: Uint8Array): Promise<void> {
    return settled(() => this.#raw.write(offset, data));
  }

  /** Answered when the data and the length are on the medium of every member (P11). */
  fsync(): Promise<void> {
    return settled(() => this.#raw.fsync());
  }

  close(): Promise<void> {
    return settled(() => this.#raw.close());
  }
}
