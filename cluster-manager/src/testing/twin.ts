// One manager of the product that is told what the simulator's manager was told (`sim manager-trace`,
// native/crates/sim/src/manager_trace.rs), step by step, and compared with it after each: the chains, who holds a
// lease until when, which clients live, and whose fence does not hold yet. The real Manager with its real
// transitions; only the connections, the disk and the clock are of this file.
import {
  FsError,
  featureLevel,
  ManualClock,
  Metrics,
  message,
  parseConfig,
  type ServerConnection,
  silentLogger,
} from '@catena/core';
import { nextChain } from '@catena/native';
import { managerConfigSchema } from '../config.ts';
import { stallMs } from '../leases.ts';
import { Manager as ProductManager } from '../manager.ts';
import { recordVersion } from '../state.ts';

const { NODE_STORAGE, NODE_CLIENT } = message.NodeKind;

/** Messages of protobuf are in hexadecimal digits, times in ms of the manager's clock, ids of clients in hex. */
export interface World {
  readonly seed: number;
  readonly profile: string;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly outageGraceMs: number;
  readonly clientLeaseMs: number;
  readonly nodes: number;
  readonly clients: readonly string[];
  readonly clientsVersion: number;
  readonly chains: readonly string[];
}

/** What was decided by the end of a step; in a trace, only what has changed. */
interface Decided {
  readonly chains: readonly string[];
  /** Of each node: its number, incarnation, whether it is alive, and the end of its lease. */
  readonly leases: readonly (readonly [number, number, boolean, number])[];
  readonly clients: readonly string[];
  /** Of the routing, when the live clients last changed. */
  readonly clientsVersion: number;
  readonly fencing: readonly string[];
}

export type Step = { readonly at: number } & Partial<Decided> &
  (
    | { readonly do: 'tick' }
    /** A new process. */
    | { readonly do: 'start'; readonly term: number }
    | {
        readonly do: 'set-back';
        readonly incarnations: readonly (readonly [number, number])[];
        readonly state: readonly string[];
      }
    | {
        readonly do: 'heartbeat';
        readonly node: number;
        readonly incarnation: number;
        readonly sequence: number;
        readonly reports: readonly string[];
        /** Its chains as it knows them. */
        readonly known: readonly string[];
        readonly granted: boolean;
        /** And not for these chains. */
        readonly held: readonly number[];
        /** If it registers first, then without its reports: its targets are not open yet. */
        readonly silently: boolean;
      }
    | {
        readonly do: 'exit' | 'give-back';
        readonly node: number;
        readonly incarnation: number;
        readonly reports: readonly string[];
      }
    | { readonly do: 'suspect'; readonly node: number }
    | { readonly do: 'order'; readonly to: number; readonly order: string }
    | { readonly do: 'register' | 'fence'; readonly client: string }
    | {
        readonly do: 'client-heartbeat';
        readonly client: string;
        readonly sequence: number;
        readonly granted: boolean;
      }
  );

/** The two managers do not decide the same. */
export class Difference extends Error {}

export class Twin {
  readonly #Manager: typeof ProductManager;
  readonly #world: World;
  readonly #clock = new ManualClock();
  #manager!: ProductManager;
  /** On the disk. */
  #stored: message.ManagerRecord;
  /** Versions of the routing when the live clients changed: of the simulator's manager, and of ours. */
  readonly #clientsVersions: { theirs: number; ours: bigint }[];
  #clientsVersion: bigint;
  /** By process and by client, of the manager that runs. */
  #connections = new Map<string, ServerConnection>();
  #orders = new Map<number, message.ChainOrder>();
  #decided: Decided;
  /** Told before it was on the disk (P3). */
  #toldEarly: string | undefined;
  /** How often each thing happened that a comparison has to have seen. */
  readonly counts = new Map<string, number>();

  constructor(world: World, Manager: typeof ProductManager = ProductManager) {
    this.#Manager = Manager;
    this.#world = world;
    const nodes = Array.from({ length: world.nodes }, (_, id) =>
      message.Node.fromPartial({ id, kind: NODE_STORAGE, domain: `domain ${id}` }),
    );
    this.#stored = message.ManagerRecord.fromPartial({
      recordVersion,
      featureLevel,
      cluster: 'simulated',
      routingVersion: 1n,
      nodes,
      chains: world.chains.map(decoded),
      clients: world.clients.map(bytes),
    });
    this.#clientsVersion = 1n;
    this.#clientsVersions = [{ theirs: world.clientsVersion, ours: 1n }];
    const { chains, clients, clientsVersion } = world;
    this.#decided = { chains, leases: [], clients, clientsVersion, fencing: [] };
  }

  /** Rejects with a Difference that says what the two decided. */
  async step(step: Step): Promise<void> {
    const passedMs = step.at - this.#clock.nowMs();
    if (step.do !== 'start' && passedMs > stallMs) this.#count('pause');
    this.#clock.advance(passedMs);
    this.#count(step.do);
    await this.#take(step);
    const before = this.#decided;
    this.#decided = { ...before, ...decidedIn(step) };
    if (step.do === 'tick' && this.#decided.clients.length < before.clients.length) this.#count('expiry');
    if (this.#decided.fencing.length < before.fencing.length) this.#count('fence holds');
    const { clientsVersion } = this.#decided;
    if (this.#clientsVersions.at(-1)!.theirs !== clientsVersion) {
      this.#clientsVersions.push({ theirs: clientsVersion, ours: this.#clientsVersion });
    }
    this.#compare(step);
  }

  async #take(step: Step): Promise<void> {
    switch (step.do) {
      case 'start':
        return this.#start(BigInt(step.term));
      case 'set-back':
        return this.#setBack(step);
      case 'tick':
        return this.#manager.tick();
      case 'heartbeat':
        return this.#requireGrant(step, () => this.#heartbeat(step));
      case 'exit':
        // The product's supervisors name the pid, and may name the incarnation: both say the same.
        return this.#manager.exitReport(
          message.ExitReportRequest.fromPartial({
            kind: NODE_STORAGE,
            node: step.node,
            pid: pidOf(step.incarnation),
            incarnation: step.at % 2 === 0 ? BigInt(step.incarnation) : 0n,
          }),
          this.#connection('supervisor'),
        );
      case 'give-back':
        return this.#manager.giveBack(
          message.GiveBackRequest.fromPartial({
            kind: NODE_STORAGE,
            node: step.node,
            incarnation: BigInt(step.incarnation),
            targets: step.reports.map((report) => this.#report(report)),
          }),
        );
      case 'suspect':
        return this.#manager.suspect({ kind: NODE_STORAGE, node: step.node });
      case 'order':
        // An administrator's changes become such orders in moves.ts, which has tests of its own; here the order
        // comes as the simulator's did, and takes effect with the next tick as they do.
        this.#orders.set(step.to, message.ChainOrder.decode(bytes(step.order)));
        return;
      case 'register':
        await this.#registerClient(step.client, false);
        return;
      case 'fence':
        // Whoever decides that a client is gone: an unmount, its process's exit or an expired lease are fenced alike.
        return this.#manager.giveBack(
          message.GiveBackRequest.fromPartial({ kind: NODE_CLIENT, header: { client: bytes(step.client) } }),
        );
      case 'client-heartbeat':
        return this.#requireGrant(step, () => this.#clientHeartbeat(step.client, BigInt(step.sequence)));
    }
  }

  /** A manager that goes on with what the one before it has stored. Who spoke to that one connects anew. */
  #start(term: bigint): void {
    const { leaseMs, heartbeatMs, outageGraceMs, clientLeaseMs } = this.#world;
    this.#connections = new Map();
    // The simulator's manager keeps no order; in the product, changes are stored and order again.
    this.#orders = new Map();
    this.#manager = new this.#Manager({
      config: {
        ...parseConfig(managerConfigSchema, '', 'test'),
        ...{ leaseMs, heartbeatMs, outageGraceMs, clientLeaseMs },
      },
      record: message.ManagerRecord.decode(message.ManagerRecord.encode(this.#stored).finish()),
      store: { save: (record) => this.#save(record) },
      nextChain: (request) => {
        this.#count('next chain');
        return nextChain(request);
      },
      term,
      planned: () => {
        const orders = this.#orders;
        this.#orders = new Map();
        return { orders, done: [] };
      },
      clock: this.#clock,
      log: silentLogger,
      metrics: new Metrics(),
      roleIsValid: () => true,
    });
  }

  /** The next process finds an older state; which clients there are stays. */
  #setBack({ state, incarnations }: Extract<Step, { do: 'set-back' }>): void {
    const older = new Map(incarnations);
    const nodes = this.#stored.nodes.map((node) => ({
      ...node,
      incarnation: BigInt(older.get(node.id) ?? 0),
    }));
    this.#stored = { ...this.#stored, nodes, chains: state.map(decoded) };
  }

  async #save(record: message.ManagerRecord): Promise<void> {
    await Promise.resolve(); // no disk answers at once
    const ids = (of: message.ManagerRecord): string => of.clients.map(textOf).sort().join();
    if (ids(record) !== ids(this.#stored)) this.#clientsVersion = record.routingVersion;
    this.#stored = record;
  }

  /**
   * As crate storage does: a process that this manager has not heard registers first, on a connection that it then
   * keeps. The simulator's network has no connections, so that heartbeats of another one are refused is
   * shown in leases.test.ts alone.
   */
  async #heartbeat(step: Extract<Step, { do: 'heartbeat' }>): Promise<boolean> {
    const { node, sequence } = step;
    const incarnation = BigInt(step.incarnation);
    const name = `${node}/${incarnation}`;
    const targets = step.reports.map((report) => this.#report(report));
    const process = { kind: NODE_STORAGE, node, incarnation, targets };
    const known = this.#connections.has(name);
    const connection = this.#connection(name);
    if (!known) {
      this.#count('registration');
      const said = step.silently ? [] : targets;
      const chains = step.known.map(decoded).filter(({ version }) => version !== 0n);
      const request = {
        ...process,
        targets: said,
        chains,
        pid: pidOf(step.incarnation),
        address: `node-${node}:1`,
      };
      await this.#register(name, () =>
        this.#manager.registerNode(message.RegisterRequest.fromPartial(request), connection),
      );
    }
    const request = message.HeartbeatRequest.fromPartial({
      ...process,
      sequence: BigInt(sequence),
      routingVersion: this.#manager.routing.version,
    });
    const { leaseMs, routing, heldChains } = await this.#manager.heartbeat(request, connection);
    this.#requireStored(routing);
    this.#requireSame(step, 'chains without a lease', [...heldChains].sort(), step.held);
    return leaseMs > 0;
  }

  async #registerClient(client: string, again: boolean): Promise<ServerConnection> {
    const connection = this.#connection(client);
    const request = { kind: NODE_CLIENT, header: { client: bytes(client) }, again };
    await this.#register(client, () =>
      this.#manager.registerClient(message.RegisterRequest.fromPartial(request), connection),
    );
    return connection;
  }

  /** Whoever is refused connects anew the next time. */
  async #register(name: string, ask: () => Promise<message.Routing>): Promise<void> {
    try {
      this.#requireStored(await ask());
    } catch (error) {
      this.#connections.delete(name);
      throw error;
    }
  }

  async #clientHeartbeat(client: string, sequence: bigint): Promise<boolean> {
    const connection = this.#connections.get(client) ?? (await this.#registerClient(client, true));
    const header = { client: bytes(client) };
    const request = message.HeartbeatRequest.fromPartial({ kind: NODE_CLIENT, header, sequence });
    const { leaseMs, routing } = await this.#manager.heartbeat(request, connection);
    this.#requireStored(routing);
    return leaseMs > 0;
  }

  async #requireGrant(step: Step & { granted: boolean }, ask: () => Promise<boolean>): Promise<void> {
    let granted = false;
    try {
      granted = await ask();
    } catch (error) {
      const refused = error instanceof FsError && ['ALREADY_RUNNING', 'FENCED'].includes(error.code);
      if (!refused) throw error;
    }
    if (!granted) this.#count(`refused ${step.do}`);
    if (granted !== step.granted) throw this.#difference(step, 'grants', granted, step.granted);
  }

  /**
   * The two count versions of the routing differently: ours rises also when a node registers, is lost, or a fence
   * holds. What a head says of fences is of a version at which the clients changed, and those are counted alike.
   */
  #report(text: string): message.TargetReport {
    const report = message.TargetReport.decode(bytes(text));
    const held = Number(report.fencesHeld);
    const known = this.#clientsVersions.findLast(({ theirs }) => theirs <= held);
    return { ...report, fencesHeld: known?.ours ?? 0n };
  }

  #connection(name: string): ServerConnection {
    const known = this.#connections.get(name);
    if (known !== undefined) return known;
    const fake: Pick<ServerConnection, 'peer' | 'isOpen' | 'pushBytes'> = {
      peer: `${name}:1`,
      isOpen: true,
      pushBytes: (_, push) => this.#requireStored(message.RoutingPush.decode(push).routing),
    };
    const connection = fake as ServerConnection; // the manager uses no more of it
    this.#connections.set(name, connection);
    return connection;
  }

  #requireStored(routing: message.Routing | undefined): void {
    if (routing === undefined || routing.version <= this.#stored.routingVersion) return;
    this.#toldEarly ??= `version ${routing.version} was told, ${this.#stored.routingVersion} is stored`;
  }

  #compare(step: Step): void {
    const { routing } = this.#manager;
    const decided = this.#decided;
    if (this.#toldEarly !== undefined)
      throw this.#difference(step, 'told', this.#toldEarly, 'what is stored');
    routing.chains.forEach((chain, place) => {
      const theirs = decided.chains[place]!;
      if (Buffer.from(message.Chain.encode(chain).finish()).toString('hex') === theirs) return;
      throw this.#difference(step, `chain ${chain.id}`, chain, decoded(theirs));
    });
    const leases = this.#manager
      .nodes()
      .map(({ id, view }) => [id, Number(view.incarnation), view.alive, view.leaseLeftMs]);
    const left = (endMs: number): number => Math.max(0, endMs - step.at);
    const theirs = decided.leases.map(([id, incarnation, alive, endMs]) => [
      id,
      incarnation,
      alive,
      left(endMs),
    ]);
    this.#requireSame(step, 'leases', leases, theirs);
    this.#requireSame(step, 'clients', routing.whole().clientsAdded.map(textOf).sort(), decided.clients);
    const holding = this.#manager.clients().map(({ id }) => id);
    this.#requireSame(step, 'leases of clients', holding.sort(), decided.clients);
    const fencing = routing.fencing.map(({ client }) => textOf(client));
    this.#requireSame(step, 'fences that do not hold', fencing.sort(), [...decided.fencing].sort());
  }

  #requireSame(step: Step, what: string, ours: unknown, theirs: unknown): void {
    if (readable(ours) !== readable(theirs)) throw this.#difference(step, what, ours, theirs);
  }

  #difference(step: Step, what: string, ours: unknown, theirs: unknown): Difference {
    const { seed, profile } = this.#world;
    const told = JSON.stringify({ ...step, ...undecided });
    return new Difference(
      `seed ${seed} (${profile}), ${what} after ${told}:\n` +
        `  the product decides ${readable(ours)}\n  the simulator's manager ${readable(theirs)}`,
    );
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

const undecided: { readonly [part in keyof Decided]: undefined } = {
  chains: undefined,
  leases: undefined,
  clients: undefined,
  clientsVersion: undefined,
  fencing: undefined,
};

function decidedIn(step: Step): Partial<Decided> {
  return Object.fromEntries(Object.entries(step).filter(([part]) => part in undecided));
}

function decoded(chain: string): message.Chain {
  return message.Chain.decode(bytes(chain));
}

function readable(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? Number(part) : part));
}

function pidOf(incarnation: number): number {
  return 1_000 + incarnation;
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function textOf(id: Uint8Array): string {
  return Buffer.from(id).toString('hex');
}
