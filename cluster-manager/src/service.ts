// The running manager: state, server, pages and the clock's ticks put together. With one manager its role is the
// lock of its directory; with several it is a key in etcd, and those without it only name the one who has it.
import { join } from 'node:path';
import {
  type ConfigOf,
  Etcd,
  FsError,
  message,
  openEtcdStore,
  RpcServer,
  type RunningService,
  realRandom,
  type ServiceContext,
  SpaceReserve,
  sleep,
  startHttp,
} from '@catena/core';
import { allocateBlocks, DirectoryLock } from '@catena/native';
import type { NextChain } from './chain-watch.ts';
import type { managerConfigSchema } from './config.ts';
import { Candidate } from './election/candidate.ts';
import { Renewal } from './election/renewal.ts';
import type { TakenRole } from './election/role.ts';
import { EtcdState, loadEtcdState } from './etcd-state.ts';
import { handlersOf } from './handlers.ts';
import { Manager } from './manager.ts';
import { NodeCheck } from './node-check.ts';
import { jsonPages, statusPage } from './pages.ts';
import { loadState, openStateStore, type StateStore } from './state.ts';

/** A lease that ran out is seen within this. */
const tickMs = 100;

type Config = ConfigOf<typeof managerConfigSchema>;

/** What a process that has the role decides on. */
interface Seat {
  readonly record: message.ManagerRecord;
  readonly store: StateStore;
  readonly roleIsValid: () => boolean;
  /** Called at every tick. */
  readonly beat: () => void;
  leave(): Promise<void>;
}

export async function startManager(
  config: Config,
  context: ServiceContext,
  nextChain: NextChain,
): Promise<RunningService> {
  const { clock, log, metrics } = context;
  let manager: Manager | undefined;
  let leader = (): string => '';
  const current = (): Manager => {
    if (manager === undefined) throw new FsError('NOT_PRIMARY', leader());
    return manager;
  };
  const check = new NodeCheck({ manager: current, clock, log, metrics });
  const server = new RpcServer({
    clock,
    log,
    handlers: handlersOf({ manager: current, check: (node) => check.start(node) }),
    onClosed: (connection) => {
      const node = manager?.disconnected(connection);
      if (manager === undefined || node === undefined) return;
      manager.suspect(node);
      if (node.kind === message.NodeKind.NODE_STORAGE) check.start(node.node);
    },
  });
  const stopping = new AbortController();
  let left: Promise<void> | undefined;
  const take = (seat: Seat): void => {
    const term = realRandom.bytes(8).readBigUInt64LE();
    manager = new Manager({ config, nextChain, term, clock, log, metrics, ...seat });
    left = decide(manager, seat, context, stopping.signal);
  };
  // With a directory of its own a process that cannot be the manager says so at once.
  const seat = config.etcd.length === 0 ? takeDirectory(config) : undefined;
  const http = await startHttp({
    address: config.http,
    metrics,
    health: () =>
      manager === undefined
        ? { ok: true, role: 'standby', leader: leader() }
        : { ok: true, role: 'primary', cluster: manager.cluster, routingVersion: manager.routing.version },
    json: jsonPages(current),
    files: statusPage(),
  });
  const address = await server.listen(config.listen);
  let campaign = Promise.resolve();
  if (seat !== undefined) {
    take(seat);
  } else {
    const etcd = await Etcd.open(config.etcd, clock);
    const serves = config.advertise === '' ? address : config.advertise;
    const options = { etcd, prefix: config.etcdPrefix, address: serves, clock, random: realRandom, log };
    const candidate = new Candidate(options);
    leader = () => candidate.leader;
    campaign = campaignFor(candidate, etcd, config, context, stopping.signal).then(
      (won) => (won === undefined ? etcd.close() : take(won)),
      (error: unknown) => {
        if (!(error instanceof FsError)) throw error;
        context.fail(error);
      },
    );
  }
  return {
    ready: { address, http: http.address, cluster: manager?.cluster ?? config.cluster },
    async stop() {
      stopping.abort();
      await campaign;
      await server.close();
      await http.close();
      await left;
    },
  };
}

/** The loop of the process that has the role. Ends when it is stopped or has lost the role; then it leaves its seat. */
async function decide(
  manager: Manager,
  seat: Seat,
  { clock, fail }: ServiceContext,
  stop: AbortSignal,
): Promise<void> {
  let ticking = false;
  const tick = async (): Promise<void> => {
    if (ticking) return; // a change is being stored; the loop goes round meanwhile
    ticking = true;
    await manager.tick().catch(ignoreDeposed);
    ticking = false;
  };
  while (!stop.aborted) {
    seat.beat();
    if (!seat.roleIsValid()) {
      // What is in memory may be decided otherwise by now: a new process begins with what is stored.
      fail(new FsError('NOT_PRIMARY', 'the role is lost'));
      break;
    }
    void tick();
    await sleep(clock, tickMs, stop).catch(() => undefined);
  }
  await seat.leave();
}

function ignoreDeposed(error: unknown): void {
  if (!(error instanceof FsError) || (error.code !== 'NOT_PRIMARY' && error.code !== 'CANCELLED'))
    throw error;
}

function takeDirectory(config: Config): Seat {
  const lock = DirectoryLock.acquire(config.stateDirectory);
  const record = loadState(config.stateDirectory);
  requireCluster(config, record, config.stateDirectory);
  const reserve = new SpaceReserve(join(config.stateDirectory, 'reserve'), allocateBlocks);
  return {
    record,
    store: openStateStore(config.stateDirectory, reserve),
    roleIsValid: () => true,
    beat: () => undefined,
    leave: async () => lock.release(),
  };
}

async function campaignFor(
  candidate: Candidate,
  etcd: Etcd,
  config: Config,
  context: ServiceContext,
  stop: AbortSignal,
): Promise<Seat | undefined> {
  const renewal = await Renewal.start(config.etcd, context.clock);
  try {
    const role = await candidate.win(stop);
    if (role !== undefined) return await takeEtcd(role, renewal, etcd, config, context);
  } catch (error) {
    await renewal.stop();
    throw error;
  }
  await renewal.stop();
  return undefined;
}

/** The role is ours: the state as it is now, and nobody else's any more. */
async function takeEtcd(
  role: TakenRole,
  renewal: Renewal,
  etcd: Etcd,
  config: Config,
  { clock }: ServiceContext,
): Promise<Seat> {
  renewal.hold(role);
  const beating = setInterval(() => renewal.beat(), tickMs); // until the ticks do
  const lost = new AbortController();
  try {
    const prefix = `${config.etcdPrefix}/state`;
    const store = await openEtcdStore(etcd, { prefix, clock, fence: role.fence, signal: lost.signal });
    const record = loadEtcdState(store);
    if (record === undefined) {
      throw new FsError(
        'BAD_CONFIG',
        `no cluster below "${config.etcdPrefix}" in etcd; make one with: catena init`,
      );
    }
    requireCluster(config, record, 'etcd');
    return {
      record,
      store: new EtcdState(store, record),
      roleIsValid: () => renewal.isValid,
      beat: () => renewal.beat(),
      async leave() {
        lost.abort();
        await renewal.stop();
        await store.close();
        // The next one need not wait for the lease; if etcd is away, it must.
        await etcd.revokeLease(role.lease).catch(() => undefined);
        etcd.close();
      },
    };
  } finally {
    clearInterval(beating);
  }
}

function requireCluster(config: Config, record: message.ManagerRecord, where: string): void {
  if (config.cluster !== '' && config.cluster !== record.cluster) {
    throw new FsError('WRONG_CLUSTER', `${where} is of "${record.cluster}", not "${config.cluster}"`);
  }
}
