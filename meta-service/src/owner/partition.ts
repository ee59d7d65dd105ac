// One partition of the names with everything around its owner: store, log, journal, applier, and the workers
// that finish what operations began. Opening it recovers; closing it leaves a store that needs no replay.

import type { message } from '@catena/core';
import {
  type AppendLog,
  type Clock,
  FsError,
  featureLevel,
  type KeyValueStore,
  type LogFloor,
  type Logger,
  silentLogger,
} from '@catena/core';
import type { ChunkStore } from '../chunks/chunk-store.ts';
import { counterKey, identityKey } from '../state/keys.ts';
import { State, type StateOptions } from '../state/state.ts';
import { counters, identities, recordVersion } from '../state/tables.ts';
import { Applier } from './applier.ts';
import type { Repeater } from './back-off.ts';
import { Collector } from './collector.ts';
import { committedStore } from './committed-store.ts';
import { Departures } from './departures.ts';
import { type Greeting, greet } from './greeting.ts';
import { ReservedIdentifiers } from './identifiers.ts';
import { Journal } from './journal.ts';
import { type Environment, Owner } from './owner.ts';
import {
  claim,
  counterNames,
  counterValue,
  floorOf,
  makeRoot,
  nextIncarnation,
  type RootOwner,
  rebuild,
  replay,
} from './recovery.ts';
import { Truncator } from './truncator.ts';

export interface PartitionOptions extends StateOptions {
  readonly store: KeyValueStore;
  readonly openLog: (floor: LogFloor) => AppendLog | Promise<AppendLog>;
  readonly chunks: ChunkStore;
  readonly clock: Clock;
  readonly environment: Environment;
  readonly log?: Logger;
  /** Name of the cluster; empty: any. */
  readonly cluster?: string;
  /** The newest that the release knows (P27); only tests stand for another release. */
  readonly featureLevel?: number;
  /** Of the root directory, where there is none yet. */
  readonly root?: Partial<RootOwner>;
  readonly leaseMs?: number;
  /** Whether a manager says which clients live (P4). */
  readonly managed?: boolean;
  /** How long after a start clients may report their read opens again (P20). */
  readonly orphanGraceMs?: number;
  readonly applyIntervalMs?: number;
  /** The log or the store failed: nothing more can be promised, and the process must end. */
  readonly onFailure?: (error: FsError) => void;
}

const rootDefault: RootOwner = { mode: 0o755, uid: 0, gid: 0 };
const leaseMsDefault = 30_000;
const orphanGraceMsDefault = 15_000;
const applyIntervalMsDefault = 50;
const tickMs = 1_000;

export class Partition {
  readonly owner: Owner;
  readonly collector: Collector;
  readonly truncator: Truncator;
  readonly departures: Departures;
  readonly log: AppendLog;
  readonly replayed: number;
  /** Rises with each opening; on the medium before anybody hears it. */
  readonly incarnation: bigint;
  /** The cluster's name is empty until a manager has told it; the feature level is what may be written. */
  #identity: message.MetadataStoreRecord;
  readonly #options: PartitionOptions;
  readonly #applier: Applier;
  readonly #stopping: AbortController;
  #filesStored: bigint;
  #failed = false;

  static async open(options: PartitionOptions): Promise<Partition> {
    const { store, clock } = options;
    const identity = await claim(store, options.cluster ?? '', options.featureLevel ?? featureLevel);
    const log = await options.openLog(floorOf(store));
    const replayed = await replay(store, log);
    await makeRoot(store, { ...rootDefault, ...options.root }, clock.wallNs());
    // What was written here has no record in the log: it must not be lost with the power.
    await store.flush();
    const partition = new Partition(options, log, replayed, identity);
    await partition.#begin();
    return partition;
  }

  private constructor(
    options: PartitionOptions,
    log: AppendLog,
    replayed: number,
    identity: message.MetadataStoreRecord,
  ) {
    const { store, clock, chunks } = options;
    this.#options = options;
    this.log = log;
    this.replayed = replayed;
    this.#identity = identity;
    this.#stopping = new AbortController();
    const repeater: Repeater = { clock, log: options.log ?? silentLogger, signal: this.#stopping.signal };
    const state = new State(committedStore(store), options);
    this.truncator = new Truncator(chunks, repeater);
    this.#applier = new Applier({
      state,
      store,
      log,
      clock,
      intervalMs: options.applyIntervalMs ?? applyIntervalMsDefault,
      onFailure: (error) => this.#fail(error),
      onApplied: () => this.#applied(),
    });
    const journal = new Journal({
      log,
      beforeSeal: () => this.#countFiles(),
      onCommitted: (batch, number, encoded) => {
        this.#applier.add(batch, number, encoded);
        if (this.owner.waitingCount > 0) setImmediate(() => this.#unlessStopping(() => this.owner.resume()));
      },
      onFailure: (error) => this.#fail(error),
    });
    const ordinals = counterValue(state, counterNames.ordinals);
    const identifiers = new ReservedIdentifiers(ordinals, log.epoch, (ceiling, done) => {
      const record = { recordVersion, value: ceiling };
      const key = counterKey(counterNames.ordinals);
      const batch = this.owner.internal((transaction) => transaction.put(counters, key, record));
      journal.whenFlushed(batch, done);
    });
    this.owner = new Owner({
      state,
      journal,
      identifiers,
      clock,
      environment: options.environment,
      onTruncation: (inode, batch) => this.truncator.start(this.owner, inode, batch),
    });
    this.collector = new Collector(this.owner, chunks, repeater);
    const leaseMs = options.leaseMs ?? leaseMsDefault;
    this.departures = new Departures({
      owner: this.owner,
      chunks,
      repeater,
      clock,
      log: repeater.log,
      leaseMs,
      managed: options.managed ?? false,
    });
    this.#filesStored = counterValue(state, counterNames.files);
    this.incarnation = nextIncarnation(state, clock.wallNs());
    this.#identifiers = identifiers;
  }
  readonly #identifiers: ReservedIdentifiers;

  greet(request: message.HelloRequest, done: (greeting: Greeting) => void): void {
    const { clock, leaseMs } = this.#options;
    greet(
      {
        owner: this.owner,
        clock,
        leaseMs: leaseMs ?? leaseMsDefault,
        cluster: this.cluster,
        featureLevel: this.#identity.featureLevel,
        admits: (id) => this.departures.admits(id),
      },
      request,
      done,
    );
  }

  get cluster(): string {
    return this.#identity.cluster;
  }

  /**
   * The manager's cluster is this one from now on, and what it writes is what we write; an error if these names belong
   * to another, or this release is too old for it (P27).
   */
  join(cluster: string, level: number): FsError | undefined {
    const known = this.#options.featureLevel ?? featureLevel;
    if (level > known) {
      return new FsError('NEWER_DATA', `the cluster speaks feature level ${level}, this release ${known}`);
    }
    if (cluster !== '' && this.cluster !== '' && cluster !== this.cluster) {
      return new FsError(
        'WRONG_CLUSTER',
        `the metadata belong to "${this.cluster}", the manager to "${cluster}"`,
      );
    }
    const identity = {
      recordVersion,
      cluster: cluster === '' ? this.cluster : cluster,
      // What was written stays: a manager that knows less has lost its memory.
      featureLevel: Math.max(level, this.#identity.featureLevel),
    };
    if (identity.cluster === this.cluster && identity.featureLevel === this.#identity.featureLevel)
      return undefined;
    this.#identity = identity;
    this.owner.internal((transaction) => transaction.put(identities, identityKey, identity));
    return undefined;
  }

  /** For tests: what the death of the process leaves. Nothing reaches log or store any more, nobody is answered. */
  abandon(): void {
    this.#failed = true;
    this.#stopping.abort();
    this.owner.journal.abandon();
    this.#applier.abandon();
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.owner.journal.drain();
    await this.#applier.drain();
    await this.log.close();
    await this.#options.store.close();
  }

  async #begin(): Promise<void> {
    const { clock } = this.#options;
    const { state } = this.owner;
    const { clients, truncations } = rebuild(state, clock);
    for (const client of clients) this.owner.clients.set(client.id, client);
    this.#identifiers.prepare();
    const incarnation = { recordVersion, value: this.incarnation };
    this.owner.internal((transaction) =>
      transaction.put(counters, counterKey(counterNames.incarnation), incarnation),
    );
    await new Promise<void>((resolve) => this.owner.journal.whenFlushed(this.owner.journal.newest, resolve));
    for (const inode of truncations) this.truncator.start(this.owner, inode, 0);
    this.collector.scan();
    const graceMs = this.#options.orphanGraceMs ?? orphanGraceMsDefault;
    clock.timer(graceMs, () => this.#unlessStopping(() => this.departures.collectOrphans()), {
      background: true,
    });
    this.#tick();
  }

  #tick(): void {
    this.#options.clock.timer(
      tickMs,
      () =>
        this.#unlessStopping(() => {
          this.owner.recentMs = this.#options.clock.nowMs();
          this.owner.dropOverdue();
          this.departures.expire();
          this.#tick();
        }),
      { background: true },
    );
  }

  #unlessStopping(act: () => void): void {
    if (!this.#stopping.signal.aborted) act();
  }

  #applied(): void {
    this.owner.resume();
    this.collector.scan();
  }

  /** The number of files goes into the batch that changed it, once. */
  #countFiles(): void {
    const { fileCount } = this.owner.state;
    if (fileCount === this.#filesStored) return;
    this.#filesStored = fileCount;
    const record = { recordVersion, value: fileCount };
    this.owner.internal((transaction) => transaction.put(counters, counterKey(counterNames.files), record));
  }

  #fail(error: FsError): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#stopping.abort();
    this.#options.onFailure?.(error);
  }
}
