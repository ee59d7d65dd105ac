// Live clients (P4). Pure: time and messages in, ids to fence out. A client is fenced by leaving the live
// ones; it never comes back under its id.
import { FsError, type message } from '@catena/core';
import { leaseWithMarginMs, stallMs } from './leases.ts';

/** P4: what routing carries; beyond it a new client waits. */
export const clientsMax = 65_536;
/**
 * A fenced client that is paused for longer than so many other fences take is not known by its id any more.
 */
export const fencedMax = 4_096;
const idBytes = 16;

interface Client {
  leaseEndMs: number;
  connection: unknown;
  sequence: bigint;
  pid: number;
  /** When that process started, as it and its supervisor say it; 0: unknown. */
  start: bigint;
  host: string;
  /** What it calls itself, for people. */
  name: string;
  /** What its release speaks (P27); 0: not heard by this manager yet. */
  featureLevel: number;
  heardMs: number | undefined;
}

export interface ClientView {
  readonly id: string;
  readonly name: string;
  readonly pid: number;
  readonly host: string;
  readonly leaseLeftMs: number;
}

export interface ClientOrigin {
  readonly connection: unknown;
  /** Host of the peer: an exit report counts for clients of the same host. */
  readonly host: string;
}

export class Clients {
  readonly #leaseMs: number;
  readonly #live = new Map<string, Client>();
  readonly #fenced = new Set<string>();
  #tickMs: number;

  /** `live` and `fenced` as stored: the live ones get the time of a lease to be heard. */
  constructor(options: {
    leaseMs: number;
    nowMs: number;
    live: readonly Uint8Array[];
    fenced: readonly Uint8Array[];
  }) {
    this.#leaseMs = options.leaseMs;
    this.#tickMs = options.nowMs;
    const leaseEndMs = options.nowMs + leaseWithMarginMs(options.leaseMs);
    const stored = {
      leaseEndMs,
      connection: undefined,
      sequence: 0n,
      pid: 0,
      start: 0n,
      host: '',
      name: '',
      featureLevel: 0,
      heardMs: undefined,
    };
    for (const id of options.live) this.#live.set(textOf(id), { ...stored });
    for (const id of options.fenced) this.#fenced.add(textOf(id));
  }

  get size(): number {
    return this.#live.size;
  }

  /** Returns whether the id is new, so that it must be published. */
  register(nowMs: number, request: message.RegisterRequest, origin: ClientOrigin): boolean {
    const id = idOf(request.header?.client);
    if (this.#fenced.has(id)) throw fenced(id);
    const isNew = !this.#live.has(id);
    // It was live once, and too many were fenced since to know it by its id.
    if (isNew && request.again) throw fenced(id);
    if (isNew && this.#live.size >= clientsMax)
      throw new FsError('OVERLOADED', `${clientsMax} clients are mounted`);
    this.#live.set(id, {
      leaseEndMs: nowMs + leaseWithMarginMs(this.#leaseMs),
      connection: origin.connection,
      sequence: 0n,
      pid: request.pid,
      start: request.incarnation,
      host: origin.host,
      name: request.address,
      featureLevel: request.featureLevel,
      heardMs: nowMs,
    });
    return isNew;
  }

  heartbeat(nowMs: number, request: message.HeartbeatRequest, connection: unknown): boolean {
    const id = idOf(request.header?.client);
    const client = this.#live.get(id);
    if (client === undefined) throw fenced(id);
    if (client.connection !== connection)
      throw new FsError('SESSION_UNKNOWN', `client ${id} must register first`);
    if (request.sequence <= client.sequence) return false;
    client.sequence = request.sequence;
    client.heardMs = nowMs;
    client.leaseEndMs = Math.max(client.leaseEndMs, nowMs + leaseWithMarginMs(this.#leaseMs));
    return true;
  }

  /**
   * Ids whose lease has run out. After a pause of ours everybody gets the time of a lease to be heard again.
   */
  tick(nowMs: number): string[] {
    const stalled = nowMs - this.#tickMs > stallMs;
    const expired: string[] = [];
    for (const [id, client] of this.#live) {
      if (stalled && client.leaseEndMs > this.#tickMs)
        client.leaseEndMs = nowMs + leaseWithMarginMs(this.#leaseMs);
      if (nowMs >= client.leaseEndMs) expired.push(id);
    }
    this.#tickMs = nowMs;
    return expired;
  }

  /**
   * Ids of the process that ended. Two containers of one host may give the same pid: the start of the process tells
   * them apart, where both sides know it.
   */
  ofProcess(
    { pid, incarnation }: Pick<message.ExitReportRequest, 'pid' | 'incarnation'>,
    host: string,
  ): string[] {
    const isIt = (client: Client): boolean =>
      client.pid === pid &&
      client.host === host &&
      (client.start === incarnation || client.start === 0n || incarnation === 0n);
    return [...this.#live].filter(([, client]) => isIt(client)).map(([id]) => id);
  }

  /** The id that gives itself back; an unmount is a fence that the client asks for. */
  ofHeader(header: message.RequestHeader | undefined): string[] {
    const id = idOf(header?.client);
    return this.#live.has(id) ? [id] : [];
  }

  /** To be called once the fence is stored. */
  fence(ids: readonly string[]): void {
    for (const id of ids) {
      this.#live.delete(id);
      this.#fenced.add(id);
    }
    for (const id of this.#fenced) {
      if (this.#fenced.size <= fencedMax) break;
      this.#fenced.delete(id);
    }
  }

  /** To be called if a new id could not be stored. */
  forget(request: message.RegisterRequest): void {
    this.#live.delete(idOf(request.header?.client));
  }

  liveIds(): string[] {
    return [...this.#live.keys()];
  }
  fencedIds(): string[] {
    return [...this.#fenced];
  }

  /** A live client that does not speak that level, as far as this manager has heard, for people. */
  below(featureLevel: number): string | undefined {
    for (const [id, client] of this.#live) {
      if (client.featureLevel >= featureLevel) continue;
      if (client.heardMs === undefined) return `client ${id}, which this manager has not heard yet`;
      return `${client.name}, process ${client.pid} on ${client.host}`;
    }
    return undefined;
  }

  views(nowMs: number): ClientView[] {
    return [...this.#live].map(([id, client]) => ({
      id,
      name: client.name,
      pid: client.pid,
      host: client.host,
      leaseLeftMs: Math.max(0, client.leaseEndMs - nowMs),
    }));
  }
}

export function bytesOfId(id: string): Buffer {
  return Buffer.from(id, 'hex');
}

function textOf(id: Uint8Array): string {
  return Buffer.from(id).toString('hex');
}

function idOf(id: Uint8Array | undefined): string {
  if (id?.length !== idBytes)
    throw new FsError('INVALID_ARGUMENT', `a client id of ${id?.length ?? 0} bytes`);
  return textOf(id);
}

function fenced(id: string): FsError {
  return new FsError('FENCED', `client ${id}`);
}
