// The manager: turns messages and time into changes of the routing table, stores each change, then tells
// everybody (P3). All decisions are in leases.ts, clients.ts and next_chain; here they meet the store and the
// connections.
import {
  type Clock,
  type Counter,
  FsError,
  type Logger,
  type Metrics,
  message,
  type ServerConnection,
} from '@catena/core';
import { type ChangeState, decide } from './changes.ts';
import { bytesOfId, Clients, type ClientView } from './clients.ts';
import type { ManagerConfig } from './config.ts';
import { disksOf } from './disks.ts';
import { fencesHeld } from './fences.ts';
import { Layout } from './layout.ts';
import { Leases, type NodeKey, type NodeView, nameOf } from './leases.ts';
import { type Orders, type Plan, plan } from './moves.ts';
import { type RoutingChange, RoutingTable } from './routing.ts';
import { recordVersion, type StateStore } from './state.ts';
import { Subscribers } from './subscribers.ts';
import { Turns } from './turns.ts';

export type NextChain = (request: message.NextChainRequest) => message.NextChainReply;

export interface ManagerOptions {
  readonly config: ManagerConfig;
  readonly record: message.ManagerRecord;
  readonly store: StateStore;
  readonly nextChain: NextChain;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * P3: whether this process still is the manager; on one machine it holds the lock for as long as it lives.
   */
  readonly roleIsValid: () => boolean;
}

/** Metadata services are added as they register; more than this is a mistake. */
const metaNodesMax = 64;
const noOrders: Plan = { orders: new Map(), done: [] };

export class Manager {
  readonly options: ManagerOptions;
  readonly #leases: Leases;
  readonly #clients: Clients;
  readonly #routing: RoutingTable;
  readonly #featureLevel: number;
  readonly #startedMs: number;
  readonly #subscribers: Subscribers;
  readonly #outageSinceMs = new Map<number, number>();
  #changes: readonly message.Change[];
  #closed: readonly message.Place[];
  /** Facts of each chain when it was last looked at: the same facts need no second look while it serves. */
  readonly #seenFacts = new Map<number, string>();
  readonly #turns = new Turns();
  readonly #chainChanges: Counter;

  constructor(options: ManagerOptions) {
    const { config, record, clock, metrics } = options;
    const nowMs = clock.nowMs();
    this.options = options;
    this.#startedMs = nowMs;
    this.#featureLevel = record.featureLevel;
    this.#routing = new RoutingTable(record);
    this.#changes = record.changes;
    this.#closed = record.closed;
    this.#leases = new Leases({ leaseMs: config.leaseMs, nowMs });
    const { clients: live, fencedClients } = record;
    this.#clients = new Clients({ leaseMs: config.clientLeaseMs, nowMs, live, fenced: fencedClients });
    this.#chainChanges = metrics.counter('chain_change_total', 'Versions of chains that were published.');
    this.#subscribers = new Subscribers(this.#routing, metrics);
    metrics.observed('routing_version', 'Version of the routing table.', 'gauge', () =>
      Number(this.#routing.version),
    );
    metrics.observed('client_live', 'Clients that hold a lease.', 'gauge', () => this.#clients.size);
    metrics.observed(
      'client_fencing',
      'Clients whose fence does not hold everywhere yet.',
      'gauge',
      () => this.#routing.fencing.length,
    );
    metrics.observed(
      'node_alive',
      'Nodes that hold a lease.',
      'gauge',
      () => this.nodes().filter((n) => n.alive).length,
    );
  }

  get cluster(): string {
    return this.#routing.cluster;
  }
  get featureLevel(): number {
    return this.#featureLevel;
  }
  get routing(): RoutingTable {
    return this.#routing;
  }

  registerNode(request: message.RegisterRequest, connection: ServerConnection): Promise<message.Routing> {
    return this.#inTurn(() => this.#registerNode(request, connection));
  }

  async #registerNode(
    request: message.RegisterRequest,
    connection: ServerConnection,
  ): Promise<message.Routing> {
    const { kind, node: id } = request;
    const stored = this.#routing.node(kind, id);
    if (stored === undefined) this.#requireNewNodeIsAllowed(request);
    const known = { incarnation: stored?.incarnation ?? 0n, pid: stored?.pid ?? 0 };
    this.#leases.register(this.#timeOfLeases(), request, connection, known);
    const { address, incarnation, pid } = request;
    const domain = request.domain === '' ? (stored?.domain ?? '') : request.domain;
    const disks = request.disks.length > 0 ? request.disks.length : (stored?.disks ?? 0);
    const node: message.Node = { id, kind, address, incarnation, pid, alive: true, domain, disks };
    const same = stored?.address === address && stored.incarnation === incarnation && stored.pid === pid;
    const sameShape = stored?.domain === domain && stored.disks === disks;
    if (!same || !sameShape || stored?.alive !== true) await this.#commit({ nodes: [node] });
    this.options.log.info('node.registration', { node: nameOf(request), incarnation, address, pid });
    await this.#advance();
    return this.#subscribers.add(connection, { kind, node: id });
  }

  registerClient(request: message.RegisterRequest, connection: ServerConnection): Promise<message.Routing> {
    return this.#inTurn(() => this.#registerClient(request, connection));
  }

  async #registerClient(
    request: message.RegisterRequest,
    connection: ServerConnection,
  ): Promise<message.Routing> {
    const isNew = this.#clients.register(this.#nowMs(), request, {
      connection,
      host: hostOf(connection.peer),
    });
    const id = request.header?.client ?? Buffer.alloc(0);
    if (isNew) {
      try {
        await this.#commit({ clientsAdded: [Buffer.from(id)] });
      } catch (error) {
        this.#clients.forget(request);
        throw error;
      }
    }
    this.options.log.info('client.registration', { client: id, name: request.address, pid: request.pid });
    return this.#subscribers.add(connection, undefined);
  }

  /** The routing that the sender lacks, and whether its lease goes on: always in one message (R4). */
  heartbeat(
    request: message.HeartbeatRequest,
    connection: ServerConnection,
  ): Promise<{ leaseMs: number; routing: message.Routing | undefined }> {
    return this.#inTurn(() => this.#heartbeat(request, connection));
  }

  async #heartbeat(
    request: message.HeartbeatRequest,
    connection: ServerConnection,
  ): Promise<{ leaseMs: number; routing: message.Routing | undefined }> {
    const { config, roleIsValid } = this.options;
    const isClient = request.kind === message.NodeKind.NODE_CLIENT;
    // A node that was removed is told so when it registers.
    if (!isClient && this.#routing.node(request.kind, request.node) === undefined) {
      throw new FsError('SESSION_UNKNOWN', `${nameOf(request)} is none of this cluster's`);
    }
    const accepted = isClient
      ? this.#clients.heartbeat(this.#nowMs(), request, connection)
      : this.#leases.heartbeat(this.#timeOfLeases(), request, connection);
    if (accepted && !isClient) await this.#advance();
    const leaseMs = isClient ? config.clientLeaseMs : config.leaseMs;
    const granted = accepted && roleIsValid(); // as the answer is written (P3)
    return {
      leaseMs: granted ? leaseMs : 0,
      routing: this.#subscribers.missing(request.routingVersion, connection),
    };
  }

  giveBack(request: message.GiveBackRequest): Promise<void> {
    return this.#inTurn(() => this.#giveBack(request));
  }

  async #giveBack(request: message.GiveBackRequest): Promise<void> {
    if (request.kind === message.NodeKind.NODE_CLIENT) {
      await this.#fence(this.#clients.ofHeader(request.header), 'client.give-back');
      return;
    }
    this.#leases.giveBack(request);
    const node = { kind: request.kind, node: request.node };
    this.options.log.info('node.give-back', { node: nameOf(node), incarnation: request.incarnation });
    await this.#advance();
  }

  /** Of a supervisor, on the host of the process (P1 b). */
  exitReport(request: message.ExitReportRequest, connection: ServerConnection): Promise<void> {
    return this.#inTurn(() => this.#exitReport(request, connection));
  }

  async #exitReport(request: message.ExitReportRequest, connection: ServerConnection): Promise<void> {
    const { kind, node, pid } = request;
    if (kind === message.NodeKind.NODE_CLIENT) {
      await this.#fence(this.#clients.ofProcess(pid, hostOf(connection.peer)), 'client.exit');
      return;
    }
    const stored = this.#routing.node(kind, node);
    const known = { incarnation: stored?.incarnation ?? 0n, pid: stored?.pid ?? 0 };
    this.#timeOfLeases();
    const news = this.#leases.exited(request, known);
    this.options.log.info('node.exit', { node: nameOf({ kind, node }), pid, news });
    if (news) await this.#advance();
  }

  /** An order of the administrator; on the medium when it resolves. Refused as a whole, or begun. */
  change(request: message.ChangeRequest): Promise<Omit<message.ChangeReply, 'header'>> {
    return this.#inTurn(() => this.#change(request));
  }

  async #change(request: message.ChangeRequest): Promise<Omit<message.ChangeReply, 'header'>> {
    this.#timeOfLeases();
    const parts = {
      state: this.changeState,
      layoutOf: (closed: readonly message.Place[], nodes: readonly message.Node[]) =>
        this.#layout(closed, nodes),
      nowMs: this.options.clock.wallNs() / 1_000_000n,
    };
    const { changes, closed, nodesAdded, nodesRemoved, orders, change, detail } = decide(request, parts);
    const { chains, reasons } = this.#nextChains(this.#nowMs(), orders);
    await this.#commit({ chains, nodes: nodesAdded, nodesRemoved }, { changes, closed });
    this.options.log.info('change.order', { action: request.action, detail });
    this.#logChains(chains, reasons);
    await this.#advance();
    return { change, detail };
  }

  get changeState(): ChangeState {
    return { changes: this.#changes, closed: this.#closed, nodes: this.#routing.nodes };
  }

  /** As everything is now. */
  layout(): Layout {
    return this.#layout(this.#closed, this.#routing.nodes);
  }

  suspect(key: NodeKey): void {
    this.#leases.suspected(this.#nowMs(), key);
  }

  /** What a caller with this version lacks; version 0 asks for all. */
  routingSince(version: bigint, connection: ServerConnection): message.Routing | undefined {
    return this.#subscribers.since(version, connection);
  }

  /** The node whose heartbeats came on this connection, if any. */
  disconnected(connection: ServerConnection): NodeKey | undefined {
    return this.#subscribers.remove(connection);
  }

  /** Every 100 ms: leases run out by themselves. */
  tick(): Promise<void> {
    return this.#inTurn(() => this.#tick());
  }

  async #tick(): Promise<void> {
    const nowMs = this.#timeOfLeases();
    try {
      await this.#fence(this.#clients.tick(nowMs), 'client.expiry');
      await this.#move(this.#plan());
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.options.log.error('state.failure', { error }); // nothing was told; the next tick tries again
    }
  }

  /** Moves every chain on as far as the facts allow, and publishes who is alive. */
  advance(): Promise<void> {
    return this.#inTurn(() => this.#advance());
  }

  #advance(): Promise<void> {
    return this.#move(noOrders);
  }

  async #move({ orders, done }: Plan): Promise<void> {
    const nowMs = this.#timeOfLeases();
    const { chains, reasons } = this.#nextChains(nowMs, orders);
    const nodes = this.#changedNodes(nowMs);
    if (chains.length > 0 || nodes.length > 0 || done.length > 0) {
      await this.#publish({ chains, nodes }, reasons, done);
    }
    await this.#confirmFences();
  }

  async #publish(
    { chains, nodes }: { readonly chains: message.Chain[]; readonly nodes: message.Node[] },
    reasons: string[],
    done: readonly message.Change[],
  ): Promise<void> {
    const changes = this.#changes.filter((change) => !done.includes(change));
    await this.#commit({ chains, nodes }, { changes, closed: this.#closed });
    this.#logChains(chains, reasons);
    for (const { id, place } of done) this.options.log.info('change.end', { change: id, place });
    for (const node of nodes) {
      const event = node.alive ? 'node.return' : 'node.loss';
      this.options.log.info(event, {
        node: nameOf({ kind: node.kind, node: node.id }),
        incarnation: node.incarnation,
      });
    }
  }

  nodes(): (message.Node & { view: NodeView })[] {
    const nowMs = this.#nowMs();
    return this.#routing.nodes.map((node) => ({
      ...node,
      view: this.#leases.view(nowMs, { kind: node.kind, node: node.id }),
    }));
  }

  clients(): ClientView[] {
    return this.#clients.views(this.#nowMs());
  }

  report(member: message.Member): message.TargetReport | undefined {
    return this.#leases.report({ kind: message.NodeKind.NODE_STORAGE, node: member.node }, member.target);
  }

  /**
   * One decision after another, each after the last one's change is stored: no lease is granted between a decision
   * and its publication.
   */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    return this.#turns.take(async () => {
      if (!this.options.roleIsValid()) throw new FsError('NOT_PRIMARY', '');
      return act();
    });
  }

  /**
   * After a pause of ours messages are handled before timers: whoever decides on leases first sees the pause,
   * or the first heartbeat that waited would remove everybody whose heartbeat waits behind it.
   */
  #timeOfLeases(): number {
    const nowMs = this.#nowMs();
    this.#leases.tick(nowMs);
    return nowMs;
  }

  /** What changes want next; with every tick and not with every heartbeat, since it looks at every chain. */
  #plan(): Plan {
    return this.#changes.length === 0 ? noOrders : plan(this.#changes, this.layout());
  }

  #layout(closed: readonly message.Place[], nodes: readonly message.Node[]): Layout {
    const { chains } = this.#routing;
    const disks = disksOf({ nodes, chains, closed, report: (member) => this.report(member) });
    return new Layout({ chains, disks, reported: this.#leases.reported() });
  }

  /** The chains that change, by the facts or by order. */
  #nextChains(nowMs: number, orders: Orders): { chains: message.Chain[]; reasons: string[] } {
    const chains: message.Chain[] = [];
    const reasons: string[] = [];
    for (const chain of this.#routing.chains) {
      const reply = this.#nextChain(nowMs, chain, orders.get(chain.id));
      if (reply?.changed !== true || reply.chain === undefined) continue;
      chains.push(reply.chain);
      reasons.push(reply.reason);
    }
    return { chains, reasons };
  }

  #logChains(chains: readonly message.Chain[], reasons: readonly string[]): void {
    for (const [index, chain] of chains.entries()) {
      this.#chainChanges.add();
      this.#seenFacts.delete(chain.id);
      this.options.log.info('chain.change', {
        chain: chain.id,
        version: chain.version,
        reason: reasons[index],
      });
    }
  }

  #nextChain(
    nowMs: number,
    chain: message.Chain,
    order: message.ChainOrder | undefined,
  ): message.NextChainReply | undefined {
    const serves = chain.members.some((member) => member.state === message.PublicState.PUBLIC_SERVING);
    if (serves) this.#outageSinceMs.delete(chain.id);
    else if (!this.#outageSinceMs.has(chain.id)) {
      this.#outageSinceMs.set(chain.id, chain.last.length === 0 ? this.#startedMs : nowMs);
    }
    const facts = chain.members.map((member) => this.#leases.fact(nowMs, member));
    const key = serves && order === undefined ? facts.map(textOfFact).join(';') : undefined;
    if (key !== undefined && this.#seenFacts.get(chain.id) === key) return undefined;
    const reply = this.options.nextChain({
      chain,
      facts,
      outageMs: BigInt(Math.floor(nowMs - (this.#outageSinceMs.get(chain.id) ?? nowMs))),
      outageGraceMs: BigInt(this.options.config.outageGraceMs),
      order,
    });
    if (key !== undefined) this.#seenFacts.set(chain.id, key);
    return reply;
  }

  /**
   * A node that was not heard since this manager's start stays as it was stored until silence proves
   * something.
   */
  #changedNodes(nowMs: number): message.Node[] {
    const settled = this.#leases.settled(nowMs);
    return this.#routing.nodes.flatMap((node) => {
      const view = this.#leases.view(nowMs, { kind: node.kind, node: node.id });
      const alive = view.incarnation === 0n && !settled ? node.alive : view.alive;
      return alive === node.alive ? [] : [{ ...node, alive }];
    });
  }

  async #fence(ids: readonly string[], event: string): Promise<void> {
    if (ids.length === 0) return;
    await this.#commit({ clientsRemoved: ids.map(bytesOfId) });
    this.#clients.fence(ids);
    for (const client of ids) this.options.log.info(event, { client });
    await this.#confirmFences();
  }

  /** Only now may anybody release what these clients held (P4). */
  async #confirmFences(): Promise<void> {
    const { fencing } = this.#routing;
    if (fencing.length === 0) return;
    const version = fencesHeld(this.#routing.chains, (member) => this.#leases.reportOfProcess(member));
    const held = fencing.filter((one) => version === undefined || one.version <= version);
    if (held.length === 0) return;
    await this.#commit({ clientsFenced: held.map((one) => one.client) });
    for (const { client } of held) this.options.log.info('client.fenced', { client });
  }

  /** On the medium before anybody is told (P3). */
  async #commit(change: RoutingChange, ordered?: Pick<ChangeState, 'changes' | 'closed'>): Promise<void> {
    const { changes, closed } = ordered ?? { changes: this.#changes, closed: this.#closed };
    const removed = (change.clientsRemoved ?? []).map((id) => id.toString('hex'));
    const fencedClients = [...this.#clients.fencedIds(), ...removed].map(bytesOfId);
    const record = this.#routing.recordAfter(change, {
      recordVersion,
      featureLevel: this.#featureLevel,
      fencedClients,
      changes: [...changes],
      closed: [...closed],
    });
    try {
      await this.options.store.save(record);
    } catch (error) {
      for (const chain of change.chains ?? []) this.#seenFacts.delete(chain.id);
      throw error;
    }
    this.#changes = changes;
    this.#closed = closed;
    this.#routing.apply(change);
    this.#subscribers.push();
  }

  #requireNewNodeIsAllowed(request: message.RegisterRequest): void {
    const { kind, node } = request;
    if (kind === message.NodeKind.NODE_STORAGE) {
      const known = this.#routing.nodes.filter((other) => other.kind === kind).map((other) => other.id);
      throw new FsError(
        'INVALID_ARGUMENT',
        `storage node ${node} is none of this cluster's: ${known.join(', ')}; add it with: catena add`,
      );
    }
    const metaNodes = this.#routing.nodes.filter((other) => other.kind === kind).length;
    if (node === 0 || metaNodes >= metaNodesMax) {
      throw new FsError(
        'INVALID_ARGUMENT',
        `metadata node ${node}: numbers start at 1, ${metaNodesMax} nodes at most`,
      );
    }
  }

  #nowMs(): number {
    return this.options.clock.nowMs();
  }
}

function textOfFact(fact: message.TargetFact): string {
  return Object.values(fact).join(' ');
}

function hostOf(peer: string): string {
  const at = peer.lastIndexOf(':');
  return at < 0 ? peer : peer.slice(0, at);
}
