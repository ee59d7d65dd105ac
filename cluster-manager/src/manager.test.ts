// The manager over real TCP, with the real transition of chains and its real state on disk; only time is
// moved by hand.
import { FsError, message, RpcClient, rpcs } from '@catena/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { initialize } from './init.ts';
import { loadState } from './state.ts';
import { Cluster, network } from './testing/cluster.ts';
import { StorageNode } from './testing/storage-node.ts';

const { NODE_STORAGE, NODE_META, NODE_CLIENT } = message.NodeKind;
const { LOCAL_UPTODATE } = message.LocalState;
const { PUBLIC_SERVING, PUBLIC_SYNCING, PUBLIC_OFFLINE, PUBLIC_LASTSRV } = message.PublicState;
const leaseEndMs = 5_300;

let cluster: Cluster;
let nodes: StorageNode[];
beforeEach(async () => {
  cluster = await new Cluster().init();
  nodes = [];
});
afterEach(async () => {
  for (const node of nodes) await node.client.close();
  await cluster.close();
});

async function join3(incarnation = 1n): Promise<StorageNode[]> {
  for (const id of [1, 2, 3]) {
    const node = new StorageNode(id, incarnation);
    nodes.push(node);
    await node.register(cluster);
  }
  return nodes;
}

/** All three registered, fresh, and serving. */
async function serving(): Promise<StorageNode[]> {
  await join3();
  for (const node of nodes) await node.heartbeat();
  for (const node of nodes) node.fresh = false;
  for (const node of nodes) node.state = LOCAL_UPTODATE;
  await settle();
  for (const node of nodes) await node.heartbeat();
  return nodes;
}

/** Until every node holds the manager's version: pushes travel by themselves. */
async function settle(): Promise<void> {
  for (const node of nodes) await expect.poll(() => !node.client.isOpen || node.version).not.toBe(0n);
  const behind = (): number =>
    nodes.filter((node) => node.client.isOpen && node.version !== cluster.manager.routing.version).length;
  await expect.poll(behind).toBe(0);
}

const stateOf = (node: number, chain = 0): number =>
  cluster.manager.routing.chains[chain]!.members.find((member) => member.node === node)!.state;

describe('storage nodes', () => {
  test('three fresh nodes make every chain serve, and everybody is told by a push', async () => {
    const [first] = await join3();
    for (const node of nodes) {
      expect((await node.heartbeat()).leaseMs).toBe(5_000);
    }
    expect(
      cluster.states().every((chain) => chain.split(' ').every((m) => m.endsWith(`:${PUBLIC_SERVING}`))),
    ).toBe(true);
    await settle();
    expect(first!.pushes).toBeGreaterThan(0);
    expect([...first!.chains.values()].map((chain) => chain.members.map((m) => m.incarnation))).toEqual([
      [1n, 1n, 1n],
      [1n, 1n, 1n],
    ]);
    expect(loadState(cluster.directory).chains).toEqual(cluster.manager.routing.chains);
  });

  test('a killed process whose exit is reported leaves its chains at once', async () => {
    await serving();
    const reporter = nodes[0]!.client;
    const report = { kind: NODE_STORAGE, node: 2, pid: nodes[1]!.pid };
    await reporter.call(rpcs.exitReport, { ...report, pid: 1 });
    expect(stateOf(2)).toBe(PUBLIC_SERVING);
    await reporter.call(rpcs.exitReport, report);
    expect([1, 2].map((chain) => stateOf(2, chain - 1))).toEqual([PUBLIC_OFFLINE, PUBLIC_OFFLINE]);
    expect(stateOf(1)).toBe(PUBLIC_SERVING);
    await reporter.call(rpcs.exitReport, report); // repeated until confirmed: no harm
    await settle();
    const held = [...nodes[0]!.chains.values()][0]!;
    expect(held.last.length).toBe(2);
    await expect(nodes[1]!.heartbeat()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  });

  test('a silent node leaves only after its lease and margin; those that speak stay', async () => {
    await serving();
    const silent = 2;
    for (let passed = 0; passed + 1_000 < leaseEndMs; passed += 1_000) {
      await cluster.pass(1_000);
      for (const node of nodes) if (node.id !== silent) await node.heartbeat();
    }
    await cluster.pass(299);
    expect(stateOf(silent)).toBe(PUBLIC_SERVING);
    await cluster.pass(1);
    expect(stateOf(silent)).toBe(PUBLIC_OFFLINE);
    expect(stateOf(1)).toBe(PUBLIC_SERVING);
    expect(cluster.manager.routing.node(NODE_STORAGE, silent)?.alive).toBe(false);
  });

  test('a returning process is synced first and serves when it says so for that version (R3)', async () => {
    await serving();
    await nodes[0]!.client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: 2, pid: nodes[1]!.pid });
    const again = new StorageNode(2, 2n);
    again.fresh = false;
    nodes.push(again);
    await again.register(cluster);
    await again.heartbeat();
    expect(stateOf(2)).toBe(PUBLIC_SYNCING);
    await settle();
    const stale = again.reports().map((report) => ({ ...report, state: LOCAL_UPTODATE, chainVersion: 1n }));
    const beat = { kind: NODE_STORAGE, node: 2, incarnation: 2n, routingVersion: again.version };
    await again.client.call(rpcs.heartbeat, { ...beat, sequence: ++again.sequence, targets: stale });
    expect(stateOf(2)).toBe(PUBLIC_SYNCING);
    again.state = LOCAL_UPTODATE;
    await again.heartbeat();
    expect([0, 1].map((chain) => stateOf(2, chain))).toEqual([PUBLIC_SERVING, PUBLIC_SERVING]);
  });

  const order = (): bigint[][] =>
    cluster.manager.routing.chains.map((chain) => chain.members.map((member) => member.target));
  const preferred = (): bigint[][] => cluster.manager.routing.chains.map((chain) => chain.preferred);
  const reordering = (): number => cluster.manager.routing.chains.filter((chain) => chain.reordering).length;

  /** The head of the first chain has a new process, which is about to be synced behind the others. */
  async function headReturns(): Promise<StorageNode[]> {
    await serving();
    expect(order()).toEqual(preferred());
    const head = cluster.manager.routing.chains[0]!.members[0]!.node;
    const dead = nodes.find((node) => node.id === head)!;
    await nodes
      .find((node) => node.id !== head)!
      .client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: head, pid: dead.pid });
    const again = new StorageNode(head, 2n);
    again.fresh = false;
    again.state = LOCAL_UPTODATE;
    await again.register(cluster);
    nodes.push(again);
    return nodes.filter((node) => node !== dead);
  }

  /** Heartbeats of all until nothing changes any more, with `meanwhile` after each round. */
  async function beat(living: readonly StorageNode[], meanwhile = () => {}): Promise<void> {
    for (let round = 0; round < 10; round++) {
      await settle();
      meanwhile();
      for (const node of living) await node.heartbeat();
    }
  }

  test('when all serve again, each chain comes back into its preferred order when its last member rests', async () => {
    const living = await headReturns();
    let told = 0;
    await beat(living, () => {
      told += reordering();
    });
    expect(told).toBeGreaterThan(0);
    expect(order()).toEqual(preferred());
    expect(reordering()).toBe(0);
    expect(loadState(cluster.directory).chains).toEqual(cluster.manager.routing.chains);
  });

  test('a chain that does not come to rest goes on after 3 s in the order it has, and tries again after 60 s', async () => {
    const living = await headReturns();
    for (const node of living) node.rests = false;
    await beat(living);
    const told = reordering();
    expect(told).toBeGreaterThan(0);
    const drifted = order();
    const passSeconds = async (seconds: number): Promise<void> => {
      for (let passed = 0; passed < seconds; passed++) {
        await cluster.pass(1_000);
        for (const node of living) await node.heartbeat();
      }
    };
    await passSeconds(2);
    await cluster.pass(900);
    expect(reordering()).toBe(told);
    await cluster.pass(100);
    await beat(living);
    expect(cluster.manager.routing.chains.filter((chain) => chain.orderGivenUp).length).toBe(told);
    expect([reordering(), order()]).toEqual([0, drifted]);
    for (const node of living) node.rests = true;
    await passSeconds(59);
    await cluster.pass(900);
    expect([reordering(), order()]).toEqual([0, drifted]);
    await cluster.pass(100);
    await beat(living);
    expect(order()).toEqual(preferred());
    expect(cluster.manager.routing.chains.some((chain) => chain.orderGivenUp)).toBe(false);
  });

  test('a newer process proves that the older is gone, without any report', async () => {
    await serving();
    const again = new StorageNode(3, 2n);
    again.fresh = false;
    nodes.push(again);
    await again.register(cluster);
    expect(stateOf(3)).not.toBe(PUBLIC_SERVING);
    await expect(nodes[2]!.heartbeat()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  });

  test('a lease that is given back ends at once; all given back, and the first complete one resumes', async () => {
    await serving();
    for (const node of [...nodes].reverse()) {
      await node.client.call(rpcs.giveBack, {
        kind: NODE_STORAGE,
        node: node.id,
        incarnation: node.incarnation,
        targets: node.reports(),
      });
    }
    expect(stateOf(1)).toBe(PUBLIC_LASTSRV);
    expect([2, 3].map((node) => stateOf(node))).toEqual([PUBLIC_OFFLINE, PUBLIC_OFFLINE]);
    const again = new StorageNode(1, 2n);
    again.fresh = false;
    nodes.push(again);
    await again.register(cluster);
    await again.heartbeat();
    expect(stateOf(1)).toBe(PUBLIC_SERVING);
    expect(cluster.manager.routing.chains[0]?.durabilityEpoch).toBe(1n);
  });

  test('after a total outage without a complete member the grace passes, then the epoch rises (P10)', async () => {
    await serving();
    await cluster.pass(leaseEndMs);
    expect([1, 2, 3].map((node) => stateOf(node))).toEqual([PUBLIC_LASTSRV, PUBLIC_LASTSRV, PUBLIC_LASTSRV]);
    const back = new StorageNode(2, 2n);
    back.fresh = false;
    back.complete = false;
    nodes.push(back);
    await back.register(cluster);
    const beatFor = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 1_000) {
        await cluster.pass(1_000);
        await back.heartbeat();
      }
    };
    await beatFor(29_000);
    expect(stateOf(2)).toBe(PUBLIC_LASTSRV);
    expect(cluster.manager.routing.chains[0]?.durabilityEpoch).toBe(1n);
    await beatFor(2_000);
    expect(stateOf(2)).toBe(PUBLIC_SERVING);
    expect(cluster.manager.routing.chains[0]?.durabilityEpoch).toBe(2n);
  });

  test('strangers, other clusters and old releases are refused; suspicion only checks', async () => {
    await serving();
    const call = (body: Partial<message.RegisterRequest>): Promise<unknown> =>
      nodes[0]!.client.call(rpcs.register, {
        kind: NODE_STORAGE,
        node: 9,
        incarnation: 1n,
        featureLevel: 1,
        ...body,
      });
    await expect(call({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(call({ node: 1, cluster: 'other' })).rejects.toMatchObject({ code: 'WRONG_CLUSTER' });
    await expect(call({ node: 1, featureLevel: 0 })).rejects.toMatchObject({ code: 'NEWER_DATA' });
    await expect(call({ kind: NODE_META, node: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await nodes[0]!.client.call(rpcs.suspect, { node: 2, incarnation: 1n });
    expect(cluster.checks).toEqual([2]);
    await cluster.pass(200);
    expect(stateOf(2)).toBe(PUBLIC_SERVING);
  });

  test('a node that reports an older version than it was sent gets the whole table', async () => {
    await serving();
    const [node] = nodes;
    node!.version = 0n; // as the data plane says when a delta did not fit
    const reply = await node!.heartbeat();
    expect(reply.routing?.fromVersion).toBe(0n);
    expect((await node!.heartbeat()).routing).toBeUndefined();
  });
});

describe('the state on disk (P3)', () => {
  test('a change that cannot be stored is told to nobody, and made again when it can', async () => {
    await serving();
    const { version } = cluster.manager.routing;
    const pushes = nodes.map((node) => node.pushes);
    cluster.diskError = new FsError('NO_SPACE', 'test');
    await expect(
      nodes[0]!.client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: 2, pid: nodes[1]!.pid }),
    ).rejects.toMatchObject({ code: 'NO_SPACE' });
    await cluster.pass(500);
    expect(cluster.manager.routing.version).toBe(version);
    expect(stateOf(2)).toBe(PUBLIC_SERVING);
    await nodes[0]!.client.call(rpcs.echo, {});
    expect(nodes.map((node) => node.pushes)).toEqual(pushes);
    cluster.diskError = undefined;
    await cluster.pass(100);
    expect(stateOf(2)).toBe(PUBLIC_OFFLINE);
    expect(loadState(cluster.directory).routingVersion).toBe(cluster.manager.routing.version);
  });

  test('a new manager goes on where the old one ended and removes nobody before a lease has passed', async () => {
    await serving();
    const { version } = cluster.manager.routing;
    const before = cluster.states();
    await cluster.restart();
    expect(cluster.manager.routing.version).toBe(version);
    await cluster.pass(leaseEndMs - 100);
    expect(cluster.states()).toEqual(before);
    for (const node of nodes.slice(0, 2)) await node.register(cluster);
    for (const node of nodes.slice(0, 2)) expect((await node.heartbeat()).leaseMs).toBe(5_000);
    await cluster.pass(100);
    expect([1, 2, 3].map((node) => stateOf(node))).toEqual([PUBLIC_SERVING, PUBLIC_SERVING, PUBLIC_OFFLINE]);
    expect(cluster.manager.routing.version).toBeGreaterThan(version);
  });

  test('an exit report reaches a new manager that has not heard of the process yet', async () => {
    await serving();
    await cluster.restart();
    for (const node of [nodes[0]!, nodes[2]!]) await node.register(cluster);
    await nodes[0]!.client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: 2, pid: nodes[1]!.pid });
    expect([1, 2, 3].map((node) => stateOf(node))).toEqual([PUBLIC_SERVING, PUBLIC_OFFLINE, PUBLIC_SERVING]);
  });

  test('a manager that was paused removes nobody who speaks again, whatever it hears first', async () => {
    await serving();
    const { manager } = cluster;
    const { version } = manager.routing;
    const states = cluster.states();
    expect([1, 2, 3].map((node) => stateOf(node))).toEqual(Array(3).fill(PUBLIC_SERVING));
    const exit = { kind: NODE_STORAGE, node: 1, pid: nodes[0]!.pid + 1 }; // an older process
    const firsts = [
      () => nodes[0]!.heartbeat(),
      () => nodes[0]!.register(cluster),
      () => nodes[0]!.client.call(rpcs.exitReport, exit),
      () => manager.advance(),
      () => manager.tick(),
    ];
    for (const first of firsts) {
      cluster.clock.advance(60_000); // no tick meanwhile
      await first();
      await manager.tick();
      for (const node of nodes) await node.heartbeat();
      await cluster.pass(leaseEndMs - 100);
      for (const node of nodes) await node.heartbeat();
      expect(cluster.states()).toEqual(states);
      expect(manager.routing.version).toBe(version);
    }
  });

  test('one process per state directory', async () => {
    await expect(
      initialize({
        stateDirectory: cluster.directory,
        cluster: 'd',
        nodes: 3,
        disksPerNode: 1,
        targetsPerDisk: 1,
        replicas: 1,
      }),
    ).rejects.toThrow(/holds the state of a cluster already/);
  });
});

describe('clients (P4)', () => {
  const id = Buffer.alloc(16, 7);
  const header = { client: id };
  const registration = { kind: NODE_CLIENT, incarnation: 1n, featureLevel: 1, pid: 4711, address: 'here' };
  const beat = (sequence: bigint): Partial<message.HeartbeatRequest> => ({ kind: NODE_CLIENT, sequence });

  test('a client is published, kept alive by heartbeats, and fenced by silence for ever', async () => {
    await serving();
    const client = await RpcClient.connect(cluster.address, { clock: network });
    const reply = await client.call(rpcs.register, registration, { header });
    expect([reply.leaseMs, reply.heartbeatMs]).toEqual([10_000, 2_000]);
    await settle();
    expect([...nodes[1]!.liveClients]).toEqual([id.toString('hex')]);
    await cluster.pass(9_000);
    expect((await client.call(rpcs.heartbeat, beat(1n), { header })).leaseMs).toBe(10_000);
    await cluster.pass(10_300);
    expect(cluster.manager.clients()).toHaveLength(1);
    await cluster.pass(100);
    expect(cluster.manager.clients()).toHaveLength(0);
    await expect(client.call(rpcs.heartbeat, beat(2n), { header })).rejects.toMatchObject({ code: 'FENCED' });
    await cluster.restart();
    const later = await RpcClient.connect(cluster.address, { clock: network });
    await expect(later.call(rpcs.register, registration, { header })).rejects.toMatchObject({
      code: 'FENCED',
    });
    await later.close();
    await client.close();
  });

  test('an unmount, and the reported end of its process, fence it at once', async () => {
    await serving();
    for (const end of ['giveBack', 'exit'] as const) {
      const own = { header: { client: Buffer.alloc(16, end) } };
      const client = await RpcClient.connect(cluster.address, { clock: network });
      await client.call(rpcs.register, registration, own);
      await settle();
      expect(nodes[1]!.liveClients.size).toBe(1);
      if (end === 'giveBack') await client.call(rpcs.giveBack, { kind: NODE_CLIENT }, own);
      else await nodes[0]!.client.call(rpcs.exitReport, { kind: NODE_CLIENT, pid: 4711 });
      await settle();
      expect(nodes[1]!.liveClients.size).toBe(0);
      await client.close();
    }
  });

  test('a fence is told as held only when every head has confirmed it, also over a new manager', async () => {
    await serving();
    const client = await RpcClient.connect(cluster.address, { clock: network });
    await client.call(rpcs.register, registration, { header });
    await settle();
    const heads = new Set(cluster.manager.routing.chains.map((chain) => chain.members[0]!.node));
    expect(heads.size).toBe(2);
    const [first, second] = nodes.filter((node) => heads.has(node.id));
    first!.fencesHeld = cluster.manager.routing.version;
    await client.call(rpcs.giveBack, { kind: NODE_CLIENT }, { header });
    await settle();
    for (const node of nodes) await node.heartbeat();
    expect(cluster.manager.routing.whole()).toMatchObject({ clientsRemoved: [id], clientsAdded: [] });
    const fence = { client: id, version: first!.fencesHeld + 1n };
    expect(loadState(cluster.directory).fencingClients).toEqual([fence]);
    await cluster.restart();
    for (const node of nodes) await node.register(cluster);
    first!.fencesHeld = undefined;
    await second!.heartbeat();
    expect(cluster.manager.routing.whole().clientsRemoved).toEqual([id]);
    await first!.heartbeat();
    expect(cluster.manager.routing.whole().clientsRemoved).toEqual([]);
    await settle();
    expect(nodes.map((node) => node.fencedClients)).toEqual(Array(3).fill([id.toString('hex')]));
    expect(loadState(cluster.directory)).toMatchObject({ fencingClients: [], fencedClients: [id] });
    const later = await RpcClient.connect(cluster.address, { clock: network });
    const again = later.call(rpcs.register, { ...registration, again: true }, { header });
    await expect(again).rejects.toMatchObject({ code: 'FENCED' });
    await later.close();
    await client.close();
  });

  test('a new manager fences no client that lives, and a client that could not be stored is not live', async () => {
    await serving();
    const client = await RpcClient.connect(cluster.address, { clock: network });
    await client.call(rpcs.register, registration, { header });
    cluster.diskError = new FsError('NO_SPACE', 'test');
    const other = { header: { client: Buffer.alloc(16, 8) } };
    await expect(client.call(rpcs.register, registration, other)).rejects.toMatchObject({ code: 'NO_SPACE' });
    cluster.diskError = undefined;
    expect(cluster.manager.clients()).toHaveLength(1);
    await cluster.restart();
    await cluster.pass(10_200);
    expect(cluster.manager.routing.whole().clientsAdded).toEqual([id]);
    await cluster.pass(200);
    expect(cluster.manager.routing.whole().clientsAdded).toEqual([]);
    await client.close();
  });
});
