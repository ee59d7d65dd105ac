// Serves rpcs: a table of handlers, message → operation, over TCP and over any other stream. Requests of one
// connection run at once and are answered in any order. An FsError of a handler is its answer; any other
// exception is our bug and crashes.
import { strict as assert } from 'node:assert';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../clock.ts';
import { FsError, fromSystemError, replyHeaderOf } from '../errors.ts';
import { frameFlags } from '../frame.ts';
import { callsInFlightMax, connectionsMax } from '../limits.ts';
import { type Logger, silentLogger } from '../log.ts';
import * as m from '../messages.ts';
import { type FastEncoder, FrameConnection } from './connection.ts';
import {
  decodeMessage,
  type OneWay,
  peekRequestId,
  type ReplyMessage,
  type RequestMessage,
  type Rpc,
} from './table.ts';

/** A reply without its header: the server fills it in. */
export type ReplyBody<Reply> = Omit<Reply, 'header'>;

export interface RequestContext {
  readonly connection: ServerConnection;
  readonly header: m.RequestHeader;
  /** Aborts when the caller's deadline has passed or its connection is gone. Made on first use. */
  readonly signal: AbortSignal;
}

export interface Handler {
  readonly kind: m.MessageKind;
  run(message: Buffer, connection: ServerConnection, oneWay: boolean): void;
}

/** An operation that gets a decoded request and returns its reply. */
export function handle<Request extends RequestMessage, Reply extends ReplyMessage>(
  rpc: Rpc<Request, Reply>,
  operation: (request: Request, context: RequestContext) => ReplyBody<Reply> | Promise<ReplyBody<Reply>>,
): Handler {
  const answer = (connection: ServerConnection, requestId: bigint, body: ReplyBody<Reply>): void => {
    const header = { requestId, code: 0, detail: '', retryAfterMs: 0 };
    connection.reply(rpc.kind, rpc.reply.encode({ ...body, header } as Reply).finish());
  };
  return {
    kind: rpc.kind,
    run(message, connection, oneWay) {
      const request = decodeMessage(rpc.request, message);
      const header = request.header;
      if (header === undefined) throw new FsError('BAD_MESSAGE', 'a request without a header');
      const context = new LazyContext(connection, header);
      const result = operation(request, context);
      if (!(result instanceof Promise)) {
        context.settle();
        if (!oneWay) answer(connection, header.requestId, result);
        return;
      }
      result.then(
        (body) => {
          context.settle();
          if (!oneWay) answer(connection, header.requestId, body);
        },
        (error: unknown) => {
          context.settle();
          if (!(error instanceof FsError)) throwUncaught(error);
          else if (!oneWay) connection.replyError(rpc.kind, header.requestId, error);
        },
      );
    },
  };
}

/**
 * For codecs made by hand: `run` gets the bytes, valid only until it returns. It must answer each request
 * exactly once, at any time, by one of the connection's `reply…` methods; a request that it refuses at once
 * may throw an FsError instead.
 */
export function handleRaw(
  kind: m.MessageKind,
  run: (message: Buffer, connection: ServerConnection, oneWay: boolean) => void,
): Handler {
  return { kind, run };
}

/** One caller. What a service remembers of it goes into a Map by this object, and out in `onClosed`. */
export class ServerConnection {
  readonly #frames: FrameConnection;
  readonly #clock: Clock;
  #inFlight = 0;

  constructor(frames: FrameConnection, clock: Clock) {
    this.#frames = frames;
    this.#clock = clock;
  }

  get peer(): string {
    return this.#frames.peer;
  }
  get isOpen(): boolean {
    return this.#frames.isOpen;
  }
  get inFlight(): number {
    return this.#inFlight;
  }
  get closed(): Promise<FsError | undefined> {
    return this.#frames.closed;
  }
  get clock(): Clock {
    return this.#clock;
  }

  close(reason?: FsError): void {
    this.#frames.close(reason);
  }

  reply(kind: number, message: Uint8Array): void {
    this.#finish();
    this.#frames.send(kind, frameFlags.reply, message);
  }
  replyFast<T>(kind: number, encoder: FastEncoder<T>, value: T): void {
    this.#finish();
    this.#frames.sendFast(kind, frameFlags.reply, encoder, value);
  }
  replyError(kind: number, requestId: bigint, error: FsError): void {
    this.reply(kind, m.AnyReply.encode({ header: replyHeaderOf(error, requestId) }).finish());
  }

  /** A message that the caller did not ask for. */
  push<T>(oneWay: OneWay<T>, body: T): void {
    this.pushBytes(oneWay.kind, oneWay.message.encode(body).finish());
  }
  /** As `push`; the same bytes can go to many. */
  pushBytes(kind: number, message: Uint8Array): void {
    this.#frames.send(kind, frameFlags.oneWay, message);
  }

  /** For the server alone: counts a request that will be answered by a `reply…` method. */
  begin(): void {
    this.#inFlight++;
  }
  #finish(): void {
    assert(this.#inFlight > 0, 'a request was answered twice');
    this.#inFlight--;
  }
}

export interface RpcServerOptions {
  handlers: readonly Handler[];
  clock: Clock;
  log?: Logger;
  onConnection?: (connection: ServerConnection) => void;
  onClosed?: (connection: ServerConnection) => void;
  callsInFlightMax?: number;
  connectionsMax?: number;
}

export class RpcServer {
  readonly #handlers: (Handler | undefined)[] = new Array(256).fill(undefined);
  readonly #options: RpcServerOptions;
  readonly #log: Logger;
  readonly #callsInFlightMax: number;
  readonly #connectionsMax: number;
  readonly #connections = new Set<ServerConnection>();
  /** Once in the log: whoever fills the server must not fill the log as well. */
  #limitLogged = false;
  #listener: Server | undefined;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#log = options.log ?? silentLogger;
    this.#callsInFlightMax = options.callsInFlightMax ?? callsInFlightMax;
    this.#connectionsMax = options.connectionsMax ?? connectionsMax;
    for (const handler of options.handlers) {
      assert(this.#handlers[handler.kind] === undefined, `two handlers for message kind ${handler.kind}`);
      this.#handlers[handler.kind] = handler;
    }
  }

  get connections(): ReadonlySet<ServerConnection> {
    return this.#connections;
  }

  /** `host:port`; port 0 picks a free one. Returns the address in use. */
  async listen(address: string): Promise<string> {
    const { host, port } = parseAddress(address);
    const listener = createServer({ noDelay: true }, (socket) => this.accept(socket, peerOf(socket)));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', (error) => reject(fromSystemError(error, `listening on ${address}`)));
      listener.listen(port, host, resolve);
    });
    this.#listener = listener;
    const bound = listener.address();
    assert(bound !== null && typeof bound === 'object');
    return `${host}:${bound.port}`;
  }

  /** Serves the caller at the other end of this stream, or closes it at once if there are too many. */
  accept(stream: Duplex, peer: string): void {
    if (this.#connections.size >= this.#connectionsMax) {
      if (!this.#limitLogged) this.#log.warning('connection.limit', { peer, limit: this.#connectionsMax });
      this.#limitLogged = true;
      stream.on('error', () => {}); // the peer's reset is no news
      stream.destroy();
      return;
    }
    const frames = new FrameConnection(stream, peer, (kind, flags, message) =>
      this.#dispatch(connection, kind, flags, message),
    );
    const connection = new ServerConnection(frames, this.#options.clock);
    this.#connections.add(connection);
    this.#options.onConnection?.(connection);
    void frames.closed.then((reason) => {
      this.#connections.delete(connection);
      if (reason !== undefined && reason.code !== 'CONNECTION_LOST') {
        this.#log.warning('connection.end', { peer, reason });
      }
      this.#options.onClosed?.(connection);
    });
  }

  /** Accepts no more, closes every connection after its replies have left. */
  async close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    const stopped =
      listener === undefined
        ? Promise.resolve()
        : new Promise<void>((resolve) => listener.close(() => resolve()));
    const connections = [...this.#connections];
    for (const connection of connections) connection.close();
    // A caller that does not close its side is cut off.
    const cutOff = this.#options.clock.timer(1_000, () => {
      for (const connection of connections)
        connection.close(new FsError('CONNECTION_LOST', 'the server stops'));
    });
    await Promise.all([stopped, ...connections.map((connection) => connection.closed)]);
    cutOff.cancel();
  }

  #dispatch(connection: ServerConnection, kind: number, flags: number, message: Buffer): void {
    if (flags & frameFlags.reply) throw new FsError('BAD_FRAME', 'a reply to a server');
    const oneWay = (flags & frameFlags.oneWay) !== 0;
    const handler = this.#handlers[kind];
    const full = connection.inFlight >= this.#callsInFlightMax;
    if (!oneWay) connection.begin();
    try {
      if (handler === undefined) throw new FsError('UNKNOWN_KIND', `kind ${kind}`);
      if (full)
        throw new FsError('OVERLOADED', `${this.#callsInFlightMax} calls of ${connection.peer} are running`);
      handler.run(message, connection, oneWay);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (!oneWay) connection.replyError(kind, peekRequestId(message), error);
    }
  }
}

/** The signal and its timer are made only for operations that ask for them. */
class LazyContext implements RequestContext {
  readonly connection: ServerConnection;
  readonly header: m.RequestHeader;
  readonly #receivedMs: number;
  #controller: AbortController | undefined;
  #settle: () => void = () => {};

  constructor(connection: ServerConnection, header: m.RequestHeader) {
    this.connection = connection;
    this.header = header;
    this.#receivedMs = header.deadlineMs === 0 ? 0 : connection.clock.nowMs();
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      void this.connection.closed.then(() =>
        controller.abort(new FsError('CONNECTION_LOST', this.connection.peer)),
      );
      if (this.header.deadlineMs > 0) {
        const { clock } = this.connection;
        const leftMs = this.header.deadlineMs - (clock.nowMs() - this.#receivedMs);
        const timer = clock.timer(
          leftMs,
          () => controller.abort(new FsError('TIMED_OUT', "the caller's deadline")),
          {
            background: true,
          },
        );
        this.#settle = () => timer.cancel();
      }
    }
    return this.#controller.signal;
  }

  settle(): void {
    this.#settle();
  }
}

export function parseAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw new FsError('INVALID_ARGUMENT', `"${address}" is no host:port`);
  return { host: match[1] ?? match[2]!, port };
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

function throwUncaught(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
