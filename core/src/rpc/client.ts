// Calls rpcs over one connection, many in flight. Each call has a deadline, which travels as remaining time
// (P17), and can be cancelled. A lost connection fails every call at once with CONNECTION_LOST; connecting
// again is the caller's decision.
import { connect as connectSocket } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import type { Clock, Timer } from '../clock.ts';
import { errorOfReplyHeader, FsError, fromSystemError } from '../errors.ts';
import { frameFlags } from '../frame.ts';
import { callsInFlightMax, messageBytesMax } from '../limits.ts';
import type * as m from '../messages.ts';
import { FrameConnection } from './connection.ts';
import { parseAddress, type RpcServer } from './server.ts';
import {
  decodeMessage,
  type OneWay,
  peekRequestId,
  type ReplyMessage,
  type RequestMessage,
  type Rpc,
} from './table.ts';

/** A request without its header: the client makes it. */
export type RequestBody<Request> = Partial<Omit<Request, 'header'>>;

export interface CallOptions {
  deadlineMs?: number;
  signal?: AbortSignal;
  /** What the header carries besides id, deadline and priority: user, client, sequence, answeredUpTo. */
  header?: Partial<Pick<m.RequestHeader, 'user' | 'client' | 'sequence' | 'answeredUpTo' | 'capability'>>;
}

export interface RpcClientOptions {
  clock: Clock;
  connectTimeoutMs?: number;
  /** Messages that the server sends unasked. The bytes are valid only until it returns. */
  onPush?: (kind: number, message: Buffer) => void;
}

interface Call {
  readonly kind: number;
  done(message: Buffer): void;
  failed(error: FsError): void;
}

const connectTimeoutMsDefault = 5_000;

export class RpcClient {
  readonly #frames: FrameConnection;
  readonly #clock: Clock;
  readonly #onPush: (kind: number, message: Buffer) => void;
  readonly #calls = new Map<bigint, Call>();
  #nextId = 1n;

  static async connect(address: string, options: RpcClientOptions): Promise<RpcClient> {
    const { host, port } = parseAddress(address);
    const socket = connectSocket({ host, port, noDelay: true });
    const timeoutMs = options.connectTimeoutMs ?? connectTimeoutMsDefault;
    await new Promise<void>((resolve, reject) => {
      const timer = options.clock.timer(timeoutMs, () => {
        socket.destroy();
        reject(new FsError('UNREACHABLE', `${address} did not accept a connection in ${timeoutMs} ms`));
      });
      socket.once('connect', () => {
        timer.cancel();
        socket.removeAllListeners('error');
        resolve();
      });
      socket.once('error', (error) => {
        timer.cancel();
        reject(fromSystemError(error, `connecting to ${address}`));
      });
    });
    return new RpcClient(socket, address, options);
  }

  constructor(stream: Duplex, peer: string, options: RpcClientOptions) {
    this.#clock = options.clock;
    this.#onPush = options.onPush ?? (() => {});
    this.#frames = new FrameConnection(stream, peer, (kind, flags, message) =>
      this.#receive(kind, flags, message),
    );
    void this.#frames.closed.then((reason) => {
      const error =
        reason?.code === 'BAD_FRAME'
          ? reason
          : new FsError('CONNECTION_LOST', `with ${peer}`, reason === undefined ? {} : { cause: reason });
      for (const call of [...this.#calls.values()]) call.failed(error);
    });
  }

  get isOpen(): boolean {
    return this.#frames.isOpen;
  }
  get peer(): string {
    return this.#frames.peer;
  }
  /** Resolves once, with the reason, or with undefined after an orderly end. */
  get closed(): Promise<FsError | undefined> {
    return this.#frames.closed;
  }

  /** Calls that are in flight fail with CONNECTION_LOST. */
  async close(): Promise<void> {
    this.#frames.close();
    const cutOff = this.#clock.timer(1_000, () =>
      this.#frames.close(new FsError('CONNECTION_LOST', 'closed')),
    );
    await this.#frames.closed;
    cutOff.cancel();
  }

  call<Request extends RequestMessage, Reply extends ReplyMessage>(
    rpc: Rpc<Request, Reply>,
    body: RequestBody<Request>,
    options: CallOptions = {},
  ): Promise<Reply> {
    const requestId = this.#nextId++;
    const deadlineMs = Math.ceil(options.deadlineMs ?? rpc.deadlineMs);
    const { signal } = options;
    if (!this.isOpen) return Promise.reject(new FsError('CONNECTION_LOST', `with ${this.peer}`));
    if (signal?.aborted === true) return Promise.reject(new FsError('CANCELLED', 'before it was sent'));
    if (deadlineMs <= 0) return Promise.reject(new FsError('TIMED_OUT', 'before it was sent'));
    if (this.#calls.size >= callsInFlightMax) {
      return Promise.reject(
        new FsError('OVERLOADED', `${callsInFlightMax} calls to ${this.peer} are in flight`),
      );
    }
    const header = { requestId, deadlineMs, priority: rpc.priority, ...options.header };
    const bytes = rpc.request.encode(rpc.request.fromPartial({ ...body, header })).finish();
    if (bytes.length > messageBytesMax) {
      return Promise.reject(new FsError('INVALID_ARGUMENT', `a request of ${bytes.length} bytes`));
    }
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#calls.delete(requestId);
        timer.cancel();
        signal?.removeEventListener('abort', cancel);
      };
      const failed = (error: FsError): void => {
        settle();
        reject(error);
      };
      const done = (message: Buffer): void => {
        settle();
        const reply = decodeReply(rpc, message);
        if (reply instanceof FsError) reject(reply);
        else resolve(reply);
      };
      const cancel = (): void =>
        failed(new FsError('CANCELLED', `call of kind ${rpc.kind}`, { cause: signal?.reason }));
      const timer: Timer = this.#clock.timer(deadlineMs, () =>
        failed(new FsError('TIMED_OUT', `${this.peer} did not answer in ${deadlineMs} ms`)),
      );
      signal?.addEventListener('abort', cancel, { once: true });
      this.#calls.set(requestId, { kind: rpc.kind, done, failed });
      this.#frames.send(rpc.kind, frameFlags.none, bytes);
    });
  }

  /** No answer, and no knowledge whether it arrived. */
  sendOneWay<T>(oneWay: OneWay<T>, body: T): void {
    if (!this.isOpen) throw new FsError('CONNECTION_LOST', `with ${this.peer}`);
    this.#frames.send(oneWay.kind, frameFlags.oneWay, oneWay.message.encode(body).finish());
  }

  #receive(kind: number, flags: number, message: Buffer): void {
    if ((flags & frameFlags.reply) === 0) {
      this.#onPush(kind, message);
      return;
    }
    // An answer to nothing belongs to a call that was cancelled or timed out.
    const call = this.#calls.get(peekRequestId(message));
    if (call === undefined) return;
    if (call.kind !== kind)
      throw new FsError('BAD_FRAME', `an answer of kind ${kind} to a call of kind ${call.kind}`);
    call.done(message);
  }
}

function decodeReply<Request extends RequestMessage, Reply extends ReplyMessage>(
  rpc: Rpc<Request, Reply>,
  message: Buffer,
): Reply | FsError {
  try {
    const reply = decodeMessage(rpc.reply, message);
    return errorOfReplyHeader(reply.header) ?? reply;
  } catch (error) {
    if (error instanceof FsError) return error;
    throw error;
  }
}

/** The twin of a TCP connection inside one process: the same frames over a pair of streams, for tests and tools. */
export function connectInProcess(server: RpcServer, options: RpcClientOptions): RpcClient {
  const [near, far] = duplexPair();
  server.accept(far, 'in-process');
  return new RpcClient(near, 'in-process', options);
}
