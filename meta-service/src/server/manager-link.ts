// The service's tie to the cluster manager: registers, sends heartbeats, and hears routing and the ids of
// live clients. Lost, it is made anew for ever; meanwhile the service goes on with what it knows.
import {
  type Clock,
  decodeMessage,
  FsError,
  type Logger,
  message,
  oneWays,
  type Random,
  RpcClient,
  rpcs,
  sleep,
} from '@catena/core';

export interface ManagerLinkOptions {
  /** Tried in turn. */
  readonly managers: readonly string[];
  readonly node: number;
  /** Rises with each start of the process. */
  readonly incarnation: bigint;
  /** Where clients reach this service. */
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The newest that this release knows (P27). */
  readonly featureLevel: number;
  /** Of this service's data; empty: any. */
  cluster(): string;
  /** With the name of the cluster and the feature level that it writes. */
  onRegistered(cluster: string, featureLevel: number): void;
  onRouting(routing: message.Routing): void;
}

const firstPauseMs = 100;
const longestPauseMs = 2_000;
const heartbeatMsDefault = 1_000;
const giveBackMs = 500;
const kind = message.NodeKind.NODE_META;

export class ManagerLink {
  readonly #options: ManagerLinkOptions;
  readonly #stopping = new AbortController();
  #routingVersion = 0n;
  #client: RpcClient | undefined;
  #sequence = 0n;
  #running: Promise<void> | undefined;
  #lastError: FsError | undefined;

  constructor(options: ManagerLinkOptions) {
    this.#options = options;
  }

  get isRegistered(): boolean {
    return this.#client?.isOpen === true;
  }
  get routingVersion(): bigint {
    return this.#routingVersion;
  }
  get lastError(): FsError | undefined {
    return this.#lastError;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log, random, managers } = this.#options;
    const { signal } = this.#stopping;
    let pauseMs = firstPauseMs;
    let primary = '';
    for (let attempt = 0; !signal.aborted; attempt++) {
      const manager = primary === '' ? managers[attempt % managers.length]! : primary;
      primary = '';
      try {
        await this.#live(manager, () => {
          pauseMs = firstPauseMs;
        });
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        this.#lastError = error;
        // The detail is the address of the one who decides, if it is known (P3).
        if (error.code === 'NOT_PRIMARY' && error.detail !== manager) primary = error.detail;
        if (!signal.aborted) log.warning('manager.lost', { manager, error, againMs: pauseMs });
      }
      await this.#client?.close();
      this.#client = undefined;
      if (primary !== '') continue;
      await sleep(clock, pauseMs * (0.5 + random.fraction()), signal).catch(() => {});
      pauseMs = Math.min(longestPauseMs, pauseMs * 2);
    }
  }

  /** One connection, from registration until it ends. */
  async #live(manager: string, registered: () => void): Promise<void> {
    const { clock, log, node, incarnation, address, featureLevel } = this.#options;
    const client = await RpcClient.connect(manager, {
      clock,
      onPush: (kindOf, bytes) => this.#push(kindOf, bytes),
    });
    this.#client = client;
    const cluster = this.#options.cluster();
    const body = { kind, node, incarnation, address, cluster, featureLevel, pid: process.pid };
    const reply = await client.call(rpcs.register, body);
    registered();
    this.#lastError = undefined;
    this.#options.onRegistered(reply.cluster, reply.featureLevel);
    // A new manager may count anew.
    this.#routingVersion = 0n;
    if (reply.routing !== undefined) this.#apply(reply.routing);
    log.info('node.registration', { node, manager, cluster: reply.cluster, routing: this.#routingVersion });
    const periodMs = reply.heartbeatMs > 0 ? reply.heartbeatMs : heartbeatMsDefault;
    while (!this.#stopping.signal.aborted) {
      await sleep(clock, periodMs, this.#stopping.signal).catch(() => {});
      if (this.#stopping.signal.aborted) break;
      const beat = {
        kind,
        node,
        incarnation,
        sequence: ++this.#sequence,
        routingVersion: this.#routingVersion,
      };
      const { routing } = await client.call(rpcs.heartbeat, beat);
      if (routing !== undefined) this.#apply(routing);
    }
    // Gives the lease back, so that nobody waits for it to run out (P1).
    await client.call(rpcs.giveBack, { kind, node, incarnation, targets: [] }, { deadlineMs: giveBackMs });
  }

  #push(kindOf: number, bytes: Buffer): void {
    if (kindOf !== oneWays.routingPush.kind) return;
    const { routing } = decodeMessage(message.RoutingPush, bytes);
    if (routing !== undefined) this.#apply(routing);
  }

  /** A delta that does not follow what is known is left out: the next heartbeat brings the whole. */
  #apply(routing: message.Routing): void {
    if (routing.fromVersion !== 0n && routing.fromVersion !== this.#routingVersion) return;
    if (routing.fromVersion !== 0n && routing.version <= this.#routingVersion) return;
    this.#routingVersion = routing.version;
    this.#options.onRouting(routing);
  }
}
