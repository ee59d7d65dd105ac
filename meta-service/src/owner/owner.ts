// The loop of the partition's owner: requests run one after another, in the order of their arrival, on the
// state; their effects go into the log in batches, and each answer is held until the newest effect that it
// saw is committed (P14). What needs more than one step (a truncation) parks whoever comes in between. Pure
// of I/O: log, store and clock are handed in.
import { strict as assert } from 'node:assert';
import type { Clock, FsError } from '@catena/core';
import { FsError as OperatingError } from '@catena/core';
import { overlayRecordsMax, parkedRequestsMax } from '../limits.ts';
import type { Caller, Context, Layouts, Space } from '../operations/operation.ts';
import type { Header } from '../operations/requests.ts';
import type { Served } from '../operations/served.ts';
import { answerKey } from '../state/keys.ts';
import { refusal } from '../state/refusal.ts';
import type { State } from '../state/state.ts';
import { answers } from '../state/tables.ts';
import { Parked, Transaction } from '../state/transaction.ts';
import { type Answer, Call } from './call.ts';
import { ClientSession } from './clients.ts';
import type { ReservedIdentifiers } from './identifiers.ts';
import type { Journal } from './journal.ts';
import { ParkedCalls } from './parked-calls.ts';

export interface Environment {
  readonly layouts: Layouts;
  /** What is known of the storage servers' space. */
  space(): Space;
  /** Whether the disk of log and store is full; without it, never. */
  isFull?(): boolean;
}

export interface OwnerOptions {
  readonly state: State;
  readonly journal: Journal;
  readonly identifiers: ReservedIdentifiers;
  readonly clock: Clock;
  readonly environment: Environment;
  /** The inode's intent is in the state; call `endTruncation` when its chunks are trimmed. */
  readonly onTruncation: (inode: bigint, batch: number) => void;
}

const nobody: Caller = { uid: 65534, gid: 65534, groups: [] };

export class Owner {
  readonly state: State;
  readonly journal: Journal;
  readonly clients = new Map<string, ClientSession>();
  readonly #identifiers: ReservedIdentifiers;
  readonly #clock: Clock;
  readonly #environment: Environment;
  readonly #onTruncation: (inode: bigint, batch: number) => void;
  #lastNowNs = 0n;
  /** Requests that wait until the store has caught up, in their order. */
  #waiting: Call[] = [];
  readonly #parked = new ParkedCalls();
  /** The service's own work that waits likewise: one for each session of a client that is gone, and nameless file. */
  readonly #afterTruncation = new Map<bigint, (() => void)[]>();
  executed = 0;
  /** The boot clock, as it was about a second ago or later: exact enough for leases of clients, and free. */
  recentMs: number;
  /** The requests that started truncations, with their answers. */
  readonly #truncators = new Map<bigint, { readonly call: Call; readonly body: Uint8Array }>();

  constructor(options: OwnerOptions) {
    this.state = options.state;
    this.journal = options.journal;
    this.#identifiers = options.identifiers;
    this.#clock = options.clock;
    this.recentMs = options.clock.nowMs();
    this.#environment = options.environment;
    this.#onTruncation = options.onTruncation;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }
  get parkedCount(): number {
    return this.#parked.count;
  }

  /** Nanoseconds since 1970, never going back in this process. */
  nowNs(): bigint {
    const wallNs = this.#clock.wallNs();
    if (wallNs > this.#lastNowNs) this.#lastNowNs = wallNs;
    return this.#lastNowNs;
  }

  serve(operation: Served, header: Header, request: unknown, answer: Answer): void {
    const call = new Call(operation, request, header, isDurable(request), answer);
    if (this.#waiting.length === 0 && this.#hasRoom()) {
      this.#execute(call, false);
    } else if (this.#waiting.length >= parkedRequestsMax) {
      throw refusal('OVERLOADED', 'the metadata store is behind');
    } else {
      this.#waiting.push(call);
    }
  }

  /** Answers when everything that was answered or seen so far is on the medium: fsync of a directory (P11). */
  sync(header: Header, answer: Answer): void {
    this.#client(header);
    this.journal.whenFlushed(this.journal.newest, () => answer.done(Buffer.alloc(0)));
  }

  /**
   * Runs what the service itself has to change; such work is not refused for want of room. Returns the batch of its
   * effects.
   */
  internal(run: (transaction: Transaction, nowNs: bigint) => void): number {
    const transaction = new Transaction(this.state, this.#identifiers);
    run(transaction, this.nowNs());
    assert(transaction.truncationStarted === undefined, 'the service itself truncates nothing');
    return this.journal.add(transaction);
  }

  /** To be called whenever the overlay may have become smaller, or a batch was sealed. */
  resume(): void {
    while (this.#waiting.length > 0 && this.#hasRoom()) {
      // In pieces, so that taking from the front of a long queue stays cheap.
      const calls = this.#waiting.splice(0, 256);
      for (const call of calls) this.#execute(call, false);
    }
  }

  /** The chunks are trimmed and the intent is gone from the state, in `batch`: everybody goes on. */
  endTruncation(inode: bigint, batch: number): void {
    this.state.truncating.delete(inode);
    const started = this.#truncators.get(inode);
    if (started !== undefined) {
      this.#truncators.delete(inode);
      const { call, body } = started;
      this.#clientOf(call)?.forget(call.header.sequence);
      this.#answer(call, body, batch);
    }
    for (const call of this.#parked.take(inode)) this.#execute(call, true);
    // Last, because one of the calls may have begun the next truncation.
    const acts = this.#afterTruncation.get(inode) ?? [];
    this.#afterTruncation.delete(inode);
    for (const act of acts) this.afterTruncation(inode, act);
  }

  /** To be called about once a second: what waits for a truncation, and nobody for it, is refused. */
  dropOverdue(): void {
    const isGivenUp = (call: Call): boolean => call.operation.updates && !this.#isAwaited(call);
    for (const call of this.#parked.takeOver(this.#clock.nowMs(), isGivenUp)) {
      // An update of which the client has said so is refused as what it is.
      if (call.operation.updates) this.#execute(call, true);
      else call.failed(refusal('TIMED_OUT', 'the file is being truncated'));
    }
  }

  #isAwaited(call: Call): boolean {
    const outcome = this.#clientOf(call)?.outcome(call.header.sequence);
    return outcome?.kind === 'waiting' && outcome.call === call;
  }

  /** At once, or when the inode is no longer being truncated. */
  afterTruncation(inode: bigint, act: () => void): void {
    if (!this.state.truncating.has(inode)) {
      act();
      return;
    }
    const acts = this.#afterTruncation.get(inode);
    if (acts === undefined) this.#afterTruncation.set(inode, [act]);
    else acts.push(act);
  }

  #hasRoom(): boolean {
    return this.state.overlay.size < overlayRecordsMax && !this.journal.isFull;
  }

  #clientOf(call: Call): ClientSession | undefined {
    return this.clients.get(call.header.client);
  }

  #client(header: Header): ClientSession {
    const client = this.clients.get(header.client);
    if (client === undefined || client.fenced) throw refusal('SESSION_UNKNOWN');
    client.heardMs = this.recentMs;
    client.answered(header.answeredUpTo);
    return client;
  }

  #execute(call: Call, resumed: boolean): void {
    try {
      const client = this.#client(call.header);
      const numbered = call.operation.updates;
      if (numbered && this.#answerAgain(call, client, resumed)) return;
      this.#run(call, client, numbered);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      call.failed(error);
    }
  }

  /** Whether the request was executed before (or is being executed), and gets that answer. */
  #answerAgain(call: Call, client: ClientSession, resumed: boolean): boolean {
    const { sequence } = call.header;
    if (sequence === 0n) throw refusal('INVALID_ARGUMENT', 'an update without a sequence number');
    if (resumed) {
      client.forget(sequence);
      // Whoever gave it up meanwhile may use its slot for another answer.
      client.requireUnanswered(sequence);
    } else if (client.check(sequence) === 'new') {
      return false;
    }
    const outcome = client.outcome(sequence);
    if (outcome?.kind === 'waiting') {
      outcome.call.join(call);
      return true;
    }
    if (outcome !== undefined) {
      if (outcome.kind === 'done') this.#answer(call, outcome.body, outcome.batch);
      else this.#refuse(call, outcome.error, outcome.batch);
      return true;
    }
    const transaction = new Transaction(this.state, this.#identifiers);
    const kept = transaction.get(answers, answerKey(call.header.client, ClientSession.slot(sequence)));
    if (kept === undefined || kept.sequence !== sequence) return false;
    if (kept.kind !== call.operation.kind) {
      throw refusal('INVALID_ARGUMENT', `request ${sequence} was one of kind ${kept.kind} before`);
    }
    if (kept.truncating !== 0n && this.state.truncating.has(kept.truncating)) {
      this.#park(call, client, kept.truncating);
    } else {
      this.#answer(call, kept.reply, transaction.seenBatch);
    }
    return true;
  }

  #run(call: Call, client: ClientSession, numbered: boolean): void {
    this.executed++;
    this.#identifiers.prepare();
    const { operation, header } = call;
    const transaction = new Transaction(this.state, this.#identifiers);
    const context: Context = {
      nowNs: this.nowNs(),
      caller: header.caller ?? nobody,
      client: header.client,
      layouts: this.#environment.layouts,
      space: this.#environment.space(),
      isFull: this.#environment.isFull?.() ?? false,
    };
    let body: Uint8Array;
    try {
      body = operation.encode(operation.run(transaction, call.request, context));
    } catch (error) {
      if (error instanceof Parked) {
        this.#park(call, client, error.inode);
        return;
      }
      if (!(error instanceof OperatingError)) throw error;
      // What may succeed later was not executed: the same number comes again.
      if (numbered && !error.retryable) {
        const outcome = { kind: 'failed', error, batch: transaction.seenBatch } as const;
        client.remember(header.sequence, outcome);
      }
      this.#refuse(call, error, transaction.seenBatch);
      return;
    }
    this.#keep(call, client, transaction, body);
  }

  /** The operation was done: its effects and its answer are kept, and the answer leaves when it may. */
  #keep(call: Call, client: ClientSession, transaction: Transaction, body: Uint8Array): void {
    const { operation, header } = call;
    const truncated = transaction.truncationStarted;
    const logged = transaction.changes.size > 0;
    assert(operation.updates || !transaction.hasEffects, `${operation.name} is said to change nothing`);
    if (logged) {
      transaction.put(answers, answerKey(call.header.client, ClientSession.slot(header.sequence)), {
        sequence: header.sequence,
        kind: operation.kind,
        reply: body,
        truncating: truncated ?? 0n,
      });
    }
    const seen = transaction.seenBatch;
    const batch = transaction.hasEffects ? this.journal.add(transaction) : seen;
    if (truncated !== undefined) {
      client.remember(header.sequence, { kind: 'waiting', call });
      this.#truncators.set(truncated, { call, body });
      this.#onTruncation(truncated, batch);
      return;
    }
    const held = logged ? batch : seen;
    if (operation.updates && !logged) client.remember(header.sequence, { kind: 'done', body, batch: held });
    this.#answer(call, body, held);
  }

  #park(call: Call, client: ClientSession, inode: bigint): void {
    this.#parked.requireRoom();
    if (call.operation.updates) client.remember(call.header.sequence, { kind: 'waiting', call });
    this.#parked.add(inode, call, this.#clock.nowMs());
  }

  #answer(call: Call, body: Uint8Array, batch: number): void {
    if (call.durable) this.journal.whenFlushed(this.journal.newest, () => call.done(body));
    else this.journal.whenCommitted(batch, () => call.done(body));
  }

  #refuse(call: Call, error: FsError, batch: number): void {
    this.journal.whenCommitted(batch, () => call.failed(error));
  }
}

/** A report that is part of an fsync. */
function isDurable(request: unknown): boolean {
  return (request as { readonly durable?: boolean }).durable === true;
}
