// A client that keeps a number of requests in flight and does as little as possible beside it: it shares the
// machine with what it measures. Requests are written by hand, replies are only counted.
import { connect } from 'node:net';
import { FrameConnection, message, parseAddress, peekRequestId } from '@catena/core';
import { Writer } from '../state/protobuf.ts';

const replyFlag = 1;

interface Pending {
  readonly act: (body: Buffer) => void;
  readonly sentUs: number;
}

export class LoadClient {
  readonly #frames: FrameConnection;
  readonly #id: Buffer;
  readonly #pending = new Map<bigint, Pending>();
  readonly #header = new Writer(128);
  readonly #request = new Writer(512);
  #nextRequest = 1n;
  #nextSequence = 1n;
  /** Answers come in order of the batches, not of the numbers; all below this have come. */
  #answeredUpTo = 0n;
  readonly #unanswered = new Set<bigint>();
  /** Microseconds of each answered request. */
  readonly latenciesUs: number[] = [];

  static async connect(address: string, id: Buffer): Promise<LoadClient> {
    const { host, port } = parseAddress(address);
    const socket = connect({ host, port, noDelay: true });
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new LoadClient(
      new FrameConnection(socket, address, (kind, flags, body) => client().#receive(kind, flags, body)),
      id,
      (made) => {
        client = () => made;
      },
    );
  }

  private constructor(frames: FrameConnection, id: Buffer, made: (client: LoadClient) => void) {
    this.#frames = frames;
    this.#id = id;
    made(this);
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  hello(): Promise<void> {
    return new Promise((resolve) => {
      const header = message.RequestHeader.fromPartial({ client: this.#id, requestId: this.#nextRequest });
      const bytes = message.HelloRequest.encode({ header, host: 'bench', featureLevel: 1 }).finish();
      this.#send(message.MessageKind.KIND_HELLO, bytes, () => resolve());
    });
  }

  create(parent: bigint, name: string, flags: number, act: (body: Buffer) => void): void {
    const request = this.#begin(true);
    request.reserve(64 + name.length);
    request.uint64Field(16, parent);
    request.bytesField(26, Buffer.from(name, 'latin1'));
    request.reserve(24);
    request.uint32Field(32, 0o644);
    request.uint32Field(40, flags);
    this.#sendUpdate(message.MessageKind.KIND_CREATE, act);
  }

  close(inode: bigint, session: bigint, act: (body: Buffer) => void): void {
    const request = this.#begin(true);
    request.reserve(32);
    request.uint64Field(16, inode);
    request.uint64Field(24, session);
    this.#sendUpdate(message.MessageKind.KIND_CLOSE, act);
  }

  lookup(parent: bigint, name: string, act: (body: Buffer) => void): void {
    const request = this.#begin(false);
    request.reserve(64 + name.length);
    request.uint64Field(16, parent);
    request.bytesField(26, Buffer.from(name, 'latin1'));
    this.#send(message.MessageKind.KIND_LOOKUP, request.buffer.subarray(0, request.position), act);
  }

  end(): void {
    this.#frames.close();
  }

  /** The header, as the generated code would write it. */
  #begin(numbered: boolean): Writer {
    const header = this.#header;
    header.position = 0;
    header.uint64Field(8, this.#nextRequest);
    header.presentBytesField(34, user);
    header.bytesField(50, this.#id);
    header.reserve(24);
    if (numbered) {
      header.uint64Field(56, this.#nextSequence);
      header.uint64Field(64, this.#answeredUpTo);
    }
    const request = this.#request;
    request.position = 0;
    request.presentBytesField(10, header.buffer.subarray(0, header.position));
    return request;
  }

  #sendUpdate(kind: number, act: (body: Buffer) => void): void {
    const sequence = this.#nextSequence++;
    this.#unanswered.add(sequence);
    this.#send(kind, this.#request.buffer.subarray(0, this.#request.position), (body) => {
      this.#unanswered.delete(sequence);
      // A Set keeps the order of insertion: its first is the lowest.
      const [first] = this.#unanswered;
      this.#answeredUpTo = (first ?? this.#nextSequence) - 1n;
      act(body);
    });
  }

  #send(kind: number, bytes: Uint8Array, act: (body: Buffer) => void): void {
    this.#pending.set(this.#nextRequest++, { act, sentUs: performance.now() * 1000 });
    this.#frames.send(kind, 0, bytes);
  }

  #receive(_kind: number, flags: number, body: Buffer): void {
    if ((flags & replyFlag) === 0) return;
    const requestId = peekRequestId(body);
    const pending = this.#pending.get(requestId);
    if (pending === undefined) throw new Error(`an answer to request ${requestId}, which is not in flight`);
    this.#pending.delete(requestId);
    this.latenciesUs.push(performance.now() * 1000 - pending.sentUs);
    pending.act(body);
  }
}

let client: () => LoadClient;
const user = message.User.encode({ uid: 0, gid: 0, groups: [], pid: 0 }).finish();
