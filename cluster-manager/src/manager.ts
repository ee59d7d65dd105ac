// The manager: turns messages and time into changes of the routing table, stores each change, then tells
// everybody (P3). All decisions are in leases.ts, clients.ts, changes.ts, moves.ts, growth.ts and next_chain; here they
// meet the store and the connections.
import {
  type Clock,
  type Counter,
  FsError,
  type Logger,
  type Metrics,
  message,
  type ServerConnection,
} from '@catena/core';
import { requireAdmitted } from './admission.ts';
import { ChainWatch, type Held, type NextChain } from './chain-watch.ts';
import { type ChangeState, decide, movesOf } from './changes.ts';
import { bytesOfId, Clients, type ClientView } from './clients.ts';
import type { ManagerConfig } from './config.ts';
import { disksOf } from './disks.ts';
import { fencesHeld } from './fences.ts';
import { addGauges } from './gauges.ts';
import { type GrowthStep, growthStep } from './growth.ts';
import { Layout } from './layout.ts';
import { Leases, type NodeKey, type NodeView, nameOf } from './leases.ts';
import { type Plan, plan } from './moves.ts';
import { type RoutingChange, RoutingTable } from './routing.ts';
import { recordVersion, type StateStore } from './state.ts';
import { Subscribers } from './subscribers.ts';
import { Turns } from './turns.ts';

export interface ManagerOptions {
  readonly config: ManagerConfig;
  readonly record: message.ManagerRecord;
  readonly store: StateStore;
  readonly nextChain: NextChain;
  /** Random: no two processes have the same (P3). */
  readonly term: bigint;
  /** What chains are ordered with each tick; without it, what the administrator's changes want. */
  readonly planned?: () => Plan;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * P3: whether this process still is the manager; on one machine it holds the lock for as long as it lives.
   */
  readonly roleIsValid: () => boolean;
}

const noOrders: Plan = { orders: new Map(), done: [] };

/** What a heartbeat earns. */
interface Granted {
  readonly leaseMs: number;
  readonly routing: message.Routing | undefined;
  /** For these the lease is none. */
  readonly heldChains: number[];
}

/** What the administrator has ordered. */
type Ordered = Pick<ChangeState, 'changes' | 'closed' | 'targetsPerDisk'> & {
  /** What everybody must speak, at least (P27). */
  readonly featureLevel: number;
};

export class Manager {
  readonly options: ManagerOptions;
  readonly #leases: Leases;
  readonly #clients: Clients;
  readonly #routing: RoutingTable;
  readonly #subscribers: Subscribers;
  readonly #watch: ChainWatch;
  #ordered: Ordered;
  readonly #turns = new Turns();
  readonly #chainChanges: Counter;

  constructor(options: ManagerOptions) {
    const { config, record, clock, metrics } = options;
    const nowMs = clock.nowMs();
    this.options = options;
    this.#routing = new RoutingTable(record);
    const { changes, closed, targetsPerDisk, featureLevel } = record;
    this.#ordered = { changes, closed, targetsPerDisk, featureLevel };
    this.#leases = new Leases({ leaseMs: config.leaseMs, nowMs });
    this.#watch = new ChainWatch({
      nextChain: options.nextChain,
      leases: this.#leases,
      outageGraceMs: config.outageGraceMs,
      term: options.term,
      nowMs,
      chains: record.chains,
    });
    const { clients: live, fencedClients } = record;
    this.#clients = new Clients({ leaseMs: config.clientLeaseMs, nowMs, live, fenced: fencedClients });
    this.#chainChanges = metrics.counter('chain_change_total', 'Versions of chains that were published.');
    this.#subscribers = new Subscribers(this.#routing, metrics);
    addGauges(metrics, {
      routing: this.#routing,
      clients: this.#clients,
      watch: this.#watch,
      nodesAlive: () => this.nodes().filter((node) => node.alive).length,
    });
  }

  get cluster(): string {
    return this.#routing.cluster;
  }
  get featureLevel(): number {
    return this.#ordered.featureLevel;
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
    if (stored === undefined) requireAdmitted(request, this.#routing);
    await this.#riseAbove(request);
    this.#leases.register(this.#timeOfLeases(), request, connection, this.#routing.processOf(request));
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
    await this.#riseAbove(request);
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
  heartbeat(request: message.HeartbeatRequest, connection: ServerConnection): Promise<Granted> {
    return this.#inTurn(() => this.#heartbeat(request, connection));
  }

  async #heartbeat(request: message.HeartbeatRequest, connection: ServerConnection): Promise<Granted> {
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
      heldChains: accepted && !isClient ? this.#watch.heldAt(request, this.#routing) : [],
    };
  }

  heldOf(chain: number): Held | undefined {
    return this.#watch.heldOf(chain);
  }

  /**
   * A version of the routing that the sender was told of before, by whichever manager: what it is told from now on must
   * be above it, or it would take it for old; and what it says of fences up to there is none of ours (P4).
   */
  async #riseAbove({ routingVersion }: message.RegisterRequest): Promise<void> {
    if (routingVersion <= this.#routing.version) return;
    this.options.log.error('state.outdated', { routingVersion, stored: this.#routing.version });
    await this.#commit({ above: routingVersion });
  }

  giveBack(request: message.GiveBackRequest): Promise<void> {
    return this.#inTurn(() => this.#giveBack(request));
  }

  async #giveBack(request: message.GiveBackRequest): Promise<void> {
    if (request.kind === message.NodeKind.NODE_CLIENT) {
      await this.#fence(this.#clients.ofHeader(request.header), 'client.give-back');
      return;
    }
    this.#leases.giveBack(request, this.#routing.processOf(request));
    this.options.log.info('node.give-back', { node: nameOf(request), incarnation: request.incarnation });
    await this.#advance();
  }

  /** Of a supervisor, on the host of the process (P1 b). */
  exitReport(request: message.ExitReportRequest, connection: ServerConnection): Promise<void> {
    return this.#inTurn(() => this.#exitReport(request, connection));
  }

  async #exitReport(request: message.ExitReportRequest, connection: ServerConnection): Promise<void> {
    const { kind, node, pid } = request;
    if (kind === message.NodeKind.NODE_CLIENT) {
      await this.#fence(this.#clients.ofProcess(request, hostOf(connection.peer)), 'client.exit');
      return;
    }
    this.#timeOfLeases();
    const news = this.#leases.exited(request, this.#routing.processOf(request));
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
      frozen: this.#watch.frozen,
      state: this.changeState,
      layoutOf: (closed: readonly message.Place[], nodes: readonly message.Node[]) =>
        this.#layout(closed, nodes),
      nowMs: this.options.clock.wallNs() / 1_000_000n,
      clientBelow: (featureLevel: number) => this.#clients.below(featureLevel),
    };
    const { nodesAdded, nodesRemoved, orders, change, detail, ...outcome } = decide(request, parts);
    const { changes, closed, targetsPerDisk } = outcome;
    const featureLevel = Math.max(this.featureLevel, outcome.featureLevel);
    const { chains, reasons } = this.#watch.next(this.#nowMs(), this.#routing.chains, orders);
    const ordered = { changes, closed, targetsPerDisk, featureLevel };
    await this.#commit({ chains, nodes: nodesAdded, nodesRemoved }, ordered);
    this.options.log.info('change.order', { action: request.action, detail });
    this.#logChains(chains, reasons);
    await this.#advance();
    return { change, detail };
  }

  get changeState(): ChangeState {
    const { nodes, tables } = this.#routing;
    return { ...this.#ordered, nodes, tables };
  }

  /** Of the growth that runs, or of one that would be ordered now. */
  growthStep(): GrowthStep {
    const others = movesOf(this.#ordered.changes).length;
    return growthStep({ ...this.changeState, others, layout: this.layout() });
  }

  /** As everything is now. */
  layout(): Layout {
    return this.#layout(this.#ordered.closed, this.#routing.nodes);
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
      await this.#grow();
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
    const { chains, reasons } = this.#watch.next(nowMs, this.#routing.chains, orders);
    for (const { chain, reason } of this.#watch.newlyFrozen()) {
      this.options.log.error('chain.frozen', {
        chain,
        reason,
        advice: 'start every server; see: catena chains',
      });
    }
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
    await this.#commit({ chains, nodes }, this.#without(done));
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

  #without(done: readonly message.Change[]): Ordered {
    return { ...this.#ordered, changes: this.#ordered.changes.filter((change) => !done.includes(change)) };
  }

  /** The next step of a growth that was ordered. */
  async #grow(): Promise<void> {
    const growth = this.#ordered.changes.find((change) => change.kind === message.ChangeKind.CHANGE_GROW);
    if (growth === undefined) return;
    const { chains, table, isDone } = this.growthStep();
    if (chains.length === 0 && !isDone) return;
    const tables = table === undefined ? [] : [table];
    await this.#commit({ chains, tables }, isDone ? this.#without([growth]) : this.#ordered);
    for (const { id, members } of chains) {
      const targets = members.map((member) => member.target);
      this.options.log.info('chain.creation', { chain: id, targets });
    }
    for (const { id, version, chains: all } of tables) {
      this.options.log.info('table.growth', { table: id, version, chains: all.length });
    }
    if (isDone) this.options.log.info('change.end', { change: growth.id });
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
    if (this.options.planned !== undefined) return this.options.planned();
    const moves = movesOf(this.#ordered.changes);
    return moves.length === 0 ? noOrders : plan(moves, this.layout());
  }

  #layout(closed: readonly message.Place[], nodes: readonly message.Node[]): Layout {
    const { chains } = this.#routing;
    const disks = disksOf({ nodes, chains, closed, report: (member) => this.report(member) });
    return new Layout({ chains, disks, reported: this.#leases.reported() });
  }

  #logChains(chains: readonly message.Chain[], reasons: readonly string[]): void {
    for (const [index, chain] of chains.entries()) {
      this.#chainChanges.add();
      this.#watch.forget(chain);
      this.options.log.info('chain.change', {
        chain: chain.id,
        version: chain.version,
        reason: reasons[index],
      });
    }
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
  async #commit(change: RoutingChange, ordered: Ordered = this.#ordered): Promise<void> {
    const removed = (change.clientsRemoved ?? []).map((id) => id.toString('hex'));
    const fencedClients = [...this.#clients.fencedIds(), ...removed].map(bytesOfId);
    const [changes, closed] = [[...ordered.changes], [...ordered.closed]];
    const record = this.#routing.recordAfter(change, {
      ...ordered,
      recordVersion,
      fencedClients,
      changes,
      closed,
    });
    try {
      await this.options.store.save(record);
    } catch (error) {
      for (const chain of change.chains ?? []) this.#watch.forget(chain);
      throw error;
    }
    this.#ordered = ordered;
    this.#routing.apply(change);
    this.#subscribers.push();
  }

  #nowMs(): number {
    return this.options.clock.nowMs();
  }
}

function hostOf(peer: string): string {
  const at = peer.lastIndexOf(':');
  return at < 0 ? peer : peer.slice(0, at);
}
