// A manager with everything around it, for tests: real state on disk, real transitions, real TCP. Only time
// is moved by hand.
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type FsError,
  ManualClock,
  MemoryStoreMedium,
  Metrics,
  type message,
  openMemoryStore,
  parseConfig,
  RpcServer,
  realClock,
  silentLogger,
} from '@catena/core';
import { bootClockMs, nextChain } from '@catena/native';
import { managerConfigSchema } from '../config.ts';
import { EtcdState, loadEtcdState } from '../etcd-state.ts';
import { handlersOf } from '../handlers.ts';
import { type InitOptions, initialize } from '../init.ts';
import { Manager } from '../manager.ts';
import { loadState, openStateStore, type StateStore } from '../state.ts';

export const network = realClock(bootClockMs);

/** `restart` is its death and the start of the next one. */
export class Cluster {
  readonly directory = mkdtempSync(join(tmpdir(), 'catena-manager-'));
  readonly clock = new ManualClock({ startMs: 1_000 });
  manager!: Manager;
  checks: number[] = [];
  /** Set: the next saves fail with it. */
  diskError: FsError | undefined;
  #server!: RpcServer;
  #etcd: MemoryStoreMedium | undefined;
  address = '';
  readonly #config = parseConfig(
    managerConfigSchema,
    `stateDirectory = ${JSON.stringify(this.directory)}`,
    'test',
  );

  async init(shape: Partial<InitOptions> = {}): Promise<this> {
    await initialize({
      stateDirectory: this.directory,
      cluster: 'c',
      nodes: 3,
      disksPerNode: 1,
      targetsPerDisk: 2,
      replicas: 3,
      ...shape,
    });
    await this.start();
    return this;
  }

  /** The state from now on as several managers keep it; to be called before a restart. */
  async moveToEtcd(): Promise<void> {
    const medium = new MemoryStoreMedium();
    await new EtcdState(openMemoryStore(medium), undefined).save(this.stored());
    this.#etcd = medium;
  }

  /** What the next manager would begin with. */
  stored(): message.ManagerRecord {
    if (this.#etcd === undefined) return loadState(this.directory);
    const record = loadEtcdState(openMemoryStore(this.#etcd));
    assert(record !== undefined);
    return record;
  }

  #terms = 0;

  async start(): Promise<void> {
    const record = this.stored();
    const real =
      this.#etcd === undefined
        ? openStateStore(this.directory)
        : new EtcdState(openMemoryStore(this.#etcd), record);
    const store: StateStore = {
      save: async (record) => {
        if (this.diskError !== undefined) throw this.diskError;
        await real.save(record);
      },
    };
    this.manager = new Manager({
      config: this.#config,
      record,
      store,
      nextChain,
      term: BigInt(++this.#terms),
      clock: this.clock,
      log: silentLogger,
      metrics: new Metrics(),
      roleIsValid: () => true,
    });
    this.#server = new RpcServer({
      clock: network,
      handlers: handlersOf({ manager: () => this.manager, check: (node) => this.checks.push(node) }),
      onClosed: (connection) => this.manager.disconnected(connection),
    });
    this.address = await this.#server.listen('127.0.0.1:0');
  }

  /** Time goes on in steps that are no pause, with the manager's own ticks. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) {
      this.clock.advance(Math.min(100, left));
      await this.manager.tick();
    }
  }

  async restart(): Promise<void> {
    await this.#server.close();
    await this.start();
  }

  async close(): Promise<void> {
    await this.#server.close();
    rmSync(this.directory, { recursive: true });
  }

  states(): string[] {
    return this.manager.routing.chains.map((chain) =>
      chain.members.map((m) => `${m.node}:${m.state}`).join(' '),
    );
  }
}
