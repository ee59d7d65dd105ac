// Who is alive, of the nodes that hold leases (P1-P3). Pure: time and messages in, facts out. It never takes
// suspicion for death. The simulator runs the same rules in native/crates/chain/src/manager.rs, and twin.test.ts
// compares what the two decide.
import { FsError, message } from '@catena/core';
import { follows } from './lineage.ts';

/**
 * What a lease may last on the holder's clock, seen from ours: clocks differ by 1 % at most, 250 ms cover our
 * own pauses.
 */
export function leaseWithMarginMs(leaseMs: number): number {
  return leaseMs + leaseMs / 100 + 250;
}

/**
 * A pause of the manager's loop that is longer than this is like a restart: heartbeats wait in the sockets.
 */
export const stallMs = 1_000;

export interface NodeKey {
  readonly kind: message.NodeKind;
  readonly node: number;
}

/** What this manager has heard of a node. */
interface Heard {
  incarnation: bigint;
  pid: number;
  sequence: bigint;
  /** Of the connection that registered last; messages of others are late. */
  connection: unknown;
  leaseEndMs: number;
  heardMs: number;
  /** The newest incarnation that ended: its exit was reported, or it gave its lease back. */
  exited: bigint;
  suspectedMs: number | undefined;
  /**
   * Until the first heartbeat, or a registration with reports, a target without a report is unknown, not
   * offline.
   */
  hasReported: boolean;
  /** One of its processes has said what its targets know: what they know since, they know of this manager. */
  hasSpoken: boolean;
  reports: Map<bigint, message.TargetReport>;
  /** Its chains by id, as it registered them. */
  claims: ReadonlyMap<number, message.Chain>;
}

export interface NodeView {
  readonly incarnation: bigint;
  readonly alive: boolean;
  readonly leaseLeftMs: number;
  readonly heardAgoMs: number | undefined;
  readonly suspected: boolean;
}

export class Leases {
  readonly #leaseMs: number;
  #startedMs: number;
  #tickMs: number;
  readonly #nodes = new Map<string, Heard>();
  /** Of each chain, the targets that are reported with it, and their nodes. */
  readonly #reporting = new Map<number, Map<bigint, number>>();

  constructor(options: { leaseMs: number; nowMs: number }) {
    this.#leaseMs = options.leaseMs;
    this.#startedMs = options.nowMs;
    this.#tickMs = options.nowMs;
  }

  /** Whether silence since before this manager's start proves anything yet (P3). */
  settled(nowMs: number): boolean {
    return nowMs - this.#startedMs >= leaseWithMarginMs(this.#leaseMs);
  }

  /** Called often. After a pause of ours everybody gets the time of a lease to be heard again. */
  tick(nowMs: number): void {
    if (nowMs - this.#tickMs > stallMs) {
      const endMs = nowMs + leaseWithMarginMs(this.#leaseMs);
      this.#startedMs = nowMs;
      for (const heard of this.#nodes.values()) {
        if (heard.leaseEndMs > this.#tickMs) heard.leaseEndMs = Math.max(heard.leaseEndMs, endMs);
      }
    }
    this.#tickMs = nowMs;
  }

  /** `stored`: the incarnation and pid that the state on disk knows, from an earlier manager. */
  register(nowMs: number, request: message.RegisterRequest, connection: unknown, stored: StoredNode): void {
    const heard = this.#heard(request);
    const newest = heard.incarnation > stored.incarnation ? heard.incarnation : stored.incarnation;
    if (request.incarnation === 0n) throw new FsError('INVALID_ARGUMENT', 'an incarnation of 0');
    if (request.incarnation < newest) throw this.#outdated(request, `incarnation ${newest} has registered`);
    if (request.incarnation <= heard.exited) throw this.#outdated(request, 'its end was reported');
    if (request.incarnation > heard.incarnation) {
      this.#setReports(heard, request.node, []);
      heard.hasReported = false;
    }
    heard.incarnation = request.incarnation;
    heard.pid = request.pid;
    heard.sequence = 0n;
    heard.connection = connection;
    heard.claims = new Map(request.chains.map((chain) => [chain.id, chain]));
    // Its targets may not be open yet: only a heartbeat says that there are none.
    if (request.targets.length > 0) this.#learn(heard, request.node, request.targets);
    this.#renew(nowMs, heard);
  }

  /** Returns whether the lease is granted; SESSION_UNKNOWN tells the node to register (again). */
  heartbeat(nowMs: number, request: message.HeartbeatRequest, connection: unknown): boolean {
    const heard = this.#nodes.get(nameOf(request));
    if (heard !== undefined && request.incarnation < heard.incarnation) {
      throw this.#outdated(request, `incarnation ${heard.incarnation} has registered`);
    }
    if (heard !== undefined && request.incarnation <= heard.exited) {
      throw this.#outdated(request, 'its end was reported');
    }
    if (heard === undefined || heard.incarnation !== request.incarnation || heard.connection !== connection) {
      throw new FsError('SESSION_UNKNOWN', `${nameOf(request)} is not registered on this connection`);
    }
    if (request.sequence <= heard.sequence) return false; // it was repeated or overtaken (R3)
    heard.sequence = request.sequence;
    this.#learn(heard, request.node, request.targets);
    this.#renew(nowMs, heard);
    return true;
  }

  /** Its last words count: they say whether it flushed everything. */
  giveBack(request: message.GiveBackRequest, stored: StoredNode): void {
    const heard = this.#heard(request);
    const newest = newestOf(heard, stored);
    if (newest.incarnation === 0n || request.incarnation !== newest.incarnation) return;
    this.#setReports(heard, request.node, [...heard.reports.values(), ...request.targets]);
    heard.exited = newest.incarnation;
  }

  /**
   * A parent saw the process end; `incarnation` 0: the pid alone says who. Only the end of the newest process that is
   * known is news: an older one has been replaced, and one that never registered need not have held the data
   * directory's lock, so it says nothing of the one that does.
   */
  exited(report: message.ExitReportRequest, stored: StoredNode): boolean {
    const heard = this.#heard(report);
    const newest = newestOf(heard, stored);
    if (newest.incarnation === 0n) return false;
    const byPid = report.incarnation === 0n;
    if (byPid ? report.pid !== newest.pid : report.incarnation !== newest.incarnation) return false;
    heard.exited = newest.incarnation;
    return true;
  }

  suspected(nowMs: number, key: NodeKey): void {
    this.#heard(key).suspectedMs = nowMs;
  }

  view(nowMs: number, key: NodeKey): NodeView {
    const heard = this.#nodes.get(nameOf(key));
    if (heard === undefined || heard.incarnation === 0n) {
      return { incarnation: 0n, alive: false, leaseLeftMs: 0, heardAgoMs: undefined, suspected: false };
    }
    return {
      incarnation: heard.incarnation,
      alive: heard.exited < heard.incarnation && nowMs < heard.leaseEndMs,
      leaseLeftMs: Math.max(0, heard.leaseEndMs - nowMs),
      heardAgoMs: nowMs - heard.heardMs,
      suspected: heard.suspectedMs !== undefined,
    };
  }

  report(key: NodeKey, target: bigint): message.TargetReport | undefined {
    return this.#nodes.get(nameOf(key))?.reports.get(target);
  }

  /** Every target that a storage node says it has. */
  reported(): bigint[] {
    return [...this.#nodes.values()].flatMap((heard) => [...heard.reports.keys()]);
  }

  /** Of the process that the member's state speaks to, and of no other. */
  reportOfProcess(member: message.Member): message.TargetReport | undefined {
    const heard = this.#nodes.get(nameOf({ kind: message.NodeKind.NODE_STORAGE, node: member.node }));
    return heard?.incarnation === member.incarnation ? heard.reports.get(member.target) : undefined;
  }

  /** Of its members, and of whoever else has a target of it. */
  facts(nowMs: number, chain: message.Chain): message.TargetFact[] {
    const members = new Set(chain.members.map((member) => member.target));
    const others = [...(this.#reporting.get(chain.id) ?? [])].flatMap(([target, node]) =>
      members.has(target) ? [] : [message.Member.fromPartial({ target, node })],
    );
    return [...chain.members, ...others].map((member) => this.fact(nowMs, member));
  }

  /** This chain as those who registered know it, where that is more than what it follows. */
  claims(chain: message.Chain): message.Chain[] {
    const nodes = new Set((this.#reporting.get(chain.id) ?? new Map<bigint, number>()).values());
    return [...nodes].flatMap((node) => {
      const heard = this.#nodes.get(nameOf({ kind: message.NodeKind.NODE_STORAGE, node }));
      const claim = heard?.claims.get(chain.id);
      return claim === undefined || follows(chain, claim.term, claim.version) ? [] : [claim];
    });
  }

  /** What `next_chain` is told of one member; its comment says how each field is meant. */
  fact(nowMs: number, member: message.Member): message.TargetFact {
    const key = { kind: message.NodeKind.NODE_STORAGE, node: member.node };
    const heard = this.#nodes.get(nameOf(key));
    const view = this.view(nowMs, key);
    const exited = heard?.exited ?? 0n;
    const gone =
      view.incarnation === 0n
        ? this.settled(nowMs) || (exited !== 0n && exited >= member.incarnation)
        : !view.alive;
    const report = heard?.reports.get(member.target);
    // A process that has registered with a new manager and not reported yet goes on serving: it takes nothing
    // back.
    const isUnknown = heard?.hasReported !== true && view.incarnation === member.incarnation;
    return {
      target: member.target,
      alive: view.alive,
      state: report?.state ?? message.LocalState.LOCAL_OFFLINE,
      chainVersion: report?.chainVersion ?? 0n,
      complete: report?.complete ?? false,
      fresh: report?.fresh ?? false,
      diskError: report?.diskError ?? false,
      stopped: report?.stopped ?? false,
      begunBy: report?.begunBy ?? 0n,
      atRest: report?.atRest ?? false,
      heard: heard?.hasSpoken ?? false,
      knownVersion: report?.knownVersion ?? 0n,
      knownTerm: report?.knownTerm ?? 0n,
      gone,
      incarnation: isUnknown ? 0n : view.incarnation,
    };
  }

  /** All of them each time, also when there are none: a target that was removed is not reported any more. */
  #learn(heard: Heard, node: number, reports: readonly message.TargetReport[]): void {
    this.#setReports(heard, node, reports);
    heard.hasReported = true;
    heard.hasSpoken = true;
  }

  #setReports(heard: Heard, node: number, reports: readonly message.TargetReport[]): void {
    const next = new Map(reports.map((report) => [report.target, report]));
    for (const { target, chain } of heard.reports.values()) {
      const targets = this.#reporting.get(chain);
      if (targets === undefined || next.get(target)?.chain === chain) continue;
      targets.delete(target);
      if (targets.size === 0) this.#reporting.delete(chain);
    }
    for (const { target, chain } of next.values()) {
      const targets = this.#reporting.get(chain);
      if (targets === undefined) this.#reporting.set(chain, new Map([[target, node]]));
      else targets.set(target, node);
    }
    heard.reports = next;
  }

  #renew(nowMs: number, heard: Heard): void {
    heard.heardMs = nowMs;
    heard.suspectedMs = undefined;
    heard.leaseEndMs = Math.max(heard.leaseEndMs, nowMs + leaseWithMarginMs(this.#leaseMs));
  }

  #heard(key: NodeKey): Heard {
    let heard = this.#nodes.get(nameOf(key));
    if (heard === undefined) {
      heard = {
        incarnation: 0n,
        pid: 0,
        sequence: 0n,
        connection: undefined,
        leaseEndMs: 0,
        heardMs: 0,
        exited: 0n,
        suspectedMs: undefined,
        hasReported: false,
        hasSpoken: false,
        reports: new Map(),
        claims: new Map(),
      };
      this.#nodes.set(nameOf(key), heard);
    }
    return heard;
  }

  #outdated(key: NodeKey & { incarnation: bigint }, why: string): FsError {
    return new FsError(
      'ALREADY_RUNNING',
      `${nameOf(key)} incarnation ${key.incarnation}: ${why}; start anew`,
    );
  }
}

export interface StoredNode {
  readonly incarnation: bigint;
  readonly pid: number;
}

/** The newest process that this manager, or one before it, knows. */
function newestOf(heard: Heard, stored: StoredNode): StoredNode {
  return heard.incarnation === 0n ? stored : heard;
}

const kindNames: Record<message.NodeKind, string> = {
  [message.NodeKind.NODE_STORAGE]: 'storage',
  [message.NodeKind.NODE_META]: 'meta',
  [message.NodeKind.NODE_CLIENT]: 'client',
};

export function nameOf(key: NodeKey): string {
  return `${kindNames[key.kind]}-${key.node}`;
}
