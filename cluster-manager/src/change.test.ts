// Changes of nodes and disks through the whole manager: real TCP, real transitions, real state on disk. The storage
// nodes say what real ones say: synced at once, stopped when told.
import { FsError, message, RpcClient, rpcs } from '@catena/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { jsonPages } from './pages.ts';
import { loadState } from './state.ts';
import { Cluster, network } from './testing/cluster.ts';
import { StorageNode } from './testing/storage-node.ts';

const { ACTION_DRAIN, ACTION_REPLACE, ACTION_ADD, ACTION_REMOVE, ACTION_ABORT, ACTION_GROW } =
  message.ChangeAction;
const { NODE_STORAGE, NODE_CLIENT } = message.NodeKind;
const { PUBLIC_SERVING } = message.PublicState;
const { LOCAL_UPTODATE, LOCAL_ONLINE } = message.LocalState;
const { STAYS } = message.Tenure;

let cluster: Cluster;
let nodes: Map<number, StorageNode>;
beforeEach(async () => {
  cluster = await new Cluster().init({ nodes: 4, targetsPerDisk: 3 });
  nodes = new Map();
  for (const id of [1, 2, 3, 4]) await start(id, 1n);
  for (const node of nodes.values()) await node.heartbeat();
  for (const node of nodes.values()) {
    node.fresh = false;
    node.state = LOCAL_UPTODATE;
  }
  expect(serving()).toBe(12);
});
afterEach(async () => {
  for (const node of nodes.values()) await node.client.close();
  await cluster.close();
});

async function start(id: number, incarnation: bigint): Promise<StorageNode> {
  const node = new StorageNode(id, incarnation);
  await node.register(cluster);
  nodes.set(id, node);
  return node;
}

const members = (): message.Member[] => cluster.manager.routing.chains.flatMap((chain) => chain.members);
const serving = (): number => members().filter((member) => member.state === PUBLIC_SERVING).length;
const on = (node: number): number => members().filter((member) => member.node === node).length;
const page = (name: string): unknown => jsonPages(() => cluster.manager)[`/api/${name}.json`]!();

async function order(request: Partial<message.ChangeRequest>): Promise<message.ChangeReply> {
  const client = await RpcClient.connect(cluster.address, { clock: network });
  try {
    return await client.call(rpcs.change, request);
  } finally {
    await client.close();
  }
}

/** One that was synced from the first moment. */
async function add(id: number): Promise<StorageNode> {
  await order({ action: ACTION_ADD, place: { node: id, disk: undefined } });
  const node = await start(id, 1n);
  [node.fresh, node.state] = [false, LOCAL_UPTODATE];
  return node;
}

/** The manager dies and the next one starts; the nodes go on. */
async function restart(): Promise<void> {
  await cluster.restart();
  for (const node of nodes.values()) {
    await node.client.close();
    await node.register(cluster);
  }
}

/** Until nothing is left of any change; at every moment each chain has so many serving, but for new ones. */
async function untilDone(least = 3): Promise<void> {
  for (let round = 0; cluster.manager.changeState.changes.length > 0; round++) {
    if (round > 200) throw new Error(`${cluster.states().join('\n')}`);
    await beat();
    for (const chain of cluster.manager.routing.chains.filter(({ last }) => last.length > 0)) {
      expect(chain.members.filter((m) => m.state === PUBLIC_SERVING).length).toBeGreaterThanOrEqual(least);
    }
  }
}

async function beat(): Promise<void> {
  await cluster.pass(100);
  for (const node of nodes.values()) await node.heartbeat();
}

test('a drained node holds nothing any more; every step was on the medium before it was told', async () => {
  const before = cluster.manager.routing.chains.map((chain) => chain.id);
  const { change, detail } = await order({ action: ACTION_DRAIN, place: { node: 2, disk: undefined } });
  expect(detail).toBe('3 replicas move off node 2');
  expect(loadState(cluster.directory).changes).toEqual([change]);
  expect(loadState(cluster.directory).closed).toEqual([{ node: 2, disk: undefined }]);
  expect(page('changes')).toMatchObject([{ kind: 'drain', node: 2, left: 3, waitsFor: null }]);
  await untilDone();
  expect([on(2), serving()]).toEqual([0, 12]);
  expect(loadState(cluster.directory).chains).toEqual(cluster.manager.routing.chains);
  expect(cluster.manager.routing.chains.map((chain) => chain.id)).toEqual(before);
  expect(page('changes')).toEqual([]);
  expect(page('nodes')).toMatchObject([{ closed: [] }, { id: 2, closed: [0], targets: 0 }, {}, {}]);
  await order({ action: ACTION_REMOVE, place: { node: 2, disk: undefined } });
  expect(cluster.manager.routing.node(NODE_STORAGE, 2)).toBeUndefined();
  expect(loadState(cluster.directory).nodes.map((node) => node.id)).toEqual([1, 3, 4]);
  await expect(nodes.get(2)!.heartbeat()).rejects.toMatchObject({ code: 'SESSION_UNKNOWN' });
  await expect(start(2, 2n)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('a drain goes on under the next manager, wherever the one before died', async () => {
  await order({ action: ACTION_DRAIN, place: { node: 3, disk: undefined } });
  for (let round = 0; cluster.manager.changeState.changes.length > 0; round++) {
    expect(round).toBeLessThan(100);
    await restart();
    await beat();
  }
  expect([on(3), serving()]).toEqual([0, 12]);
});

test('an order that is given again is the same change, and another one of that place is refused', async () => {
  for (const node of nodes.values()) node.state = LOCAL_ONLINE; // nobody is ever synced
  const [first, third] = [1, 3].map((node) => ({ node, disk: undefined }));
  const drain = await order({ action: ACTION_DRAIN, place: first });
  expect(drain.change).toBeDefined();
  const again = await order({ action: ACTION_DRAIN, place: first });
  expect([again.change, again.detail]).toEqual([drain.change, 'the drain of node 1 runs already']);
  const others = [{ action: ACTION_ADD }, { action: ACTION_REPLACE }, { action: ACTION_DRAIN, with: third }];
  for (const other of others) {
    await expect(order({ ...other, place: first })).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  }
  // One that may register, and whose order is given again because nobody heard the answer.
  const added = await order({ action: ACTION_ADD, place: { node: 9, disk: undefined } });
  const addedAgain = await order({ action: ACTION_ADD, place: { node: 9, disk: undefined } });
  expect(addedAgain.change).toEqual(added.change);
  expect(cluster.manager.changeState.changes.length).toBe(2);
});

test('a drain that is ended gives back what it had begun', async () => {
  for (const node of nodes.values()) node.state = LOCAL_ONLINE; // nobody is ever synced
  await order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } });
  await beat();
  await beat();
  expect(members().filter((member) => member.tenure !== STAYS).length).toBe(3);
  await order({ action: ACTION_ABORT, place: { node: 1, disk: undefined } });
  await beat();
  expect([on(1), serving(), members().length]).toEqual([3, 12, 12]);
  expect(members().every((member) => member.tenure === STAYS)).toBe(true);
  expect(loadState(cluster.directory).closed).toEqual([]);
});

test('a lost disk is replaced by one command, with targets of other numbers', async () => {
  const lost = members().filter((member) => member.node === 4);
  await nodes.get(1)!.client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: 4, pid: nodes.get(4)!.pid });
  await nodes.get(4)!.client.close();
  nodes.delete(4);
  await expect(order({ action: ACTION_REPLACE, place: { node: 4, disk: undefined } })).rejects.toMatchObject({
    code: 'UNREACHABLE',
  });
  const again = await start(4, 2n);
  // It reports nothing of the old targets: its disk is broken, they cannot be opened.
  again.reports = () => [];
  await again.heartbeat();
  const { detail } = await order({ action: ACTION_REPLACE, place: { node: 4, disk: 0 } });
  expect(detail).toBe('3 lost replicas are made anew on disk 0 of node 4');
  again.reports = StorageNode.prototype.reports;
  again.state = LOCAL_UPTODATE;
  await untilDone(2);
  expect([on(4), serving()]).toEqual([3, 12]);
  const targets = members().filter((member) => member.node === 4);
  for (const { target } of targets) expect(lost.some((member) => member.target === target)).toBe(false);
});

test('a new node may register once it was added, and gets its share', async () => {
  const stranger = new StorageNode(5, 1n);
  await expect(stranger.register(cluster)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await stranger.client.close();
  await order({ action: ACTION_ADD, place: { node: 5, disk: undefined }, domain: 'new rack' });
  await beat();
  expect(page('changes')).toMatchObject([{ kind: 'balancing', node: 5, waitsFor: 'node 5 to start' }]);
  const node = await start(5, 1n);
  [node.fresh, node.state] = [false, LOCAL_UPTODATE];
  await untilDone();
  expect([on(5), serving()]).toEqual([2, 12]);
  expect(cluster.manager.routing.node(NODE_STORAGE, 5)).toMatchObject({ domain: 'new rack', disks: 1 });
});

const table = (): message.ChainTable => cluster.manager.routing.tables[0]!;

test.each(['a directory', 'etcd'])(
  'new nodes get new chains by one order, wherever the manager dies; state in %s',
  async (place) => {
    if (place === 'etcd') await cluster.moveToEtcd();
    await restart();
    const before = cluster.manager.routing.chains.map((chain) => chain.id);
    await add(5);
    await add(6);
    const { change, detail } = await order({ action: ACTION_GROW });
    expect(detail).toMatch(/^the chain table grows by new chains, which waits for 2 other changes to end$/);
    expect((await order({ action: ACTION_GROW })).change).toEqual(change);
    expect(page('changes')).toMatchObject([{}, {}, { kind: 'growth', waitsFor: '2 other changes to end' }]);
    let wereUnlisted = 0;
    for (let round = 0; cluster.manager.changeState.changes.length > 0; round++) {
      expect(round).toBeLessThan(200);
      await restart();
      await beat();
      const stored = cluster.stored();
      expect([stored.tables, stored.chains]).toEqual([
        cluster.manager.routing.tables,
        cluster.manager.routing.chains,
      ]);
      const unlisted = stored.chains.filter((chain) => !table().chains.includes(chain.id));
      if (unlisted.length > 0) wereUnlisted++;
      // Files find a chain in the table only when it serves.
      for (const id of table().chains) {
        const { members } = stored.chains.find((chain) => chain.id === id)!;
        expect(members.some((member) => member.state === PUBLIC_SERVING)).toBe(true);
      }
    }
    expect(wereUnlisted).toBeGreaterThan(0);
    expect(table()).toEqual({ id: 1, version: 2, chains: [...before, 5, 6], lengths: [4] });
    expect([serving(), ...[1, 2, 3, 4, 5, 6].map(on)]).toEqual([18, 3, 3, 3, 3, 3, 3]);
    await beat();
    for (const node of nodes.values()) expect(node.tables.get(1)).toEqual(table());
    expect(page('tables')).toMatchObject([{ id: 1, version: 2, lengths: [4, 6], missing: 0 }]);
    expect(page('chains')).toMatchObject([
      ...before.map((id) => ({ id, sinceTableVersion: 1 })),
      { id: 5, sinceTableVersion: 2 },
      { id: 6, sinceTableVersion: 2 },
    ]);
    expect((await order({ action: ACTION_GROW })).detail).toMatch(/^nothing to grow: 6 disks with 3 targets/);
    expect(cluster.stored()).toMatchObject({ featureLevel: 2, targetsPerDisk: 3, changes: [] });
  },
);

test('a table is told once, when it grew, and with whole tables', async () => {
  const tables: number[] = [];
  const [first] = nodes.values();
  const apply = first!.apply.bind(first);
  first!.apply = (routing) => {
    if (routing !== undefined) tables.push(routing.tables.length);
    apply(routing);
  };
  await add(5);
  await add(6);
  await order({ action: ACTION_GROW });
  await untilDone();
  await beat();
  expect(tables.length).toBeGreaterThan(5);
  expect(tables.filter((count) => count > 0)).toEqual([1]);
});

test('a new chain waits for all its members, however long the manager has run, and starts without one that stays away', async () => {
  for (let second = 0; second < 60; second++) {
    await cluster.pass(900);
    for (const node of nodes.values()) await node.heartbeat();
  }
  for (const id of [5, 6, 7]) await add(id);
  // Nothing moves, so that the new chains are on the new nodes.
  for (const id of [5, 6, 7]) {
    const place = { node: id, disk: undefined };
    await order({ action: ACTION_ABORT, place });
  }
  await order({ action: ACTION_GROW });
  await cluster.pass(100);
  const made = (): message.Chain[] => cluster.manager.routing.chains.slice(4);
  const servesOn = (): number[] =>
    made().map((chain) => chain.members.filter((m) => m.state === PUBLIC_SERVING).length);
  expect(servesOn()).toEqual([0, 0, 0]);
  const silent = nodes.get(7)!;
  silent.reports = () => [];
  await beat();
  expect(servesOn()).toEqual([0, 0, 0]);
  expect(table().version).toBe(1);
  for (let second = 0; second < 40; second++) {
    await cluster.pass(900);
    for (const node of nodes.values()) await node.heartbeat();
  }
  expect(servesOn()).toEqual([2, 2, 2]);
  expect(table()).toMatchObject({ version: 2, lengths: [4] });
});

test('no growth while a client of an older release lives, and none may come afterwards', async () => {
  const header = { client: Buffer.alloc(16, 7) };
  const registration = { kind: NODE_CLIENT, incarnation: 1n, featureLevel: 1, pid: 4711, address: 'mount' };
  const client = await RpcClient.connect(cluster.address, { clock: network });
  try {
    await client.call(rpcs.register, registration, { header });
    await add(5);
    await add(6);
    await expect(order({ action: ACTION_GROW })).rejects.toMatchObject({
      code: 'BUSY',
      message: expect.stringMatching(/end or update first: mount, process 4711 on 127.0.0.1$/),
    });
    expect(loadState(cluster.directory)).toMatchObject({ featureLevel: 1 });
    await client.call(rpcs.giveBack, { kind: NODE_CLIENT, incarnation: 1n, targets: [] }, { header });
    await order({ action: ACTION_GROW });
    expect(loadState(cluster.directory)).toMatchObject({ featureLevel: 2 });
    const later = { header: { client: Buffer.alloc(16, 8) } };
    await expect(client.call(rpcs.register, registration, later)).rejects.toMatchObject({
      code: 'NEWER_DATA',
    });
    await client.call(rpcs.register, { ...registration, featureLevel: 2 }, later);
  } finally {
    await client.close();
  }
});

test('a step of a growth that cannot be stored is told to nobody, and made when the disk is back', async () => {
  await add(5);
  await add(6);
  await untilDone();
  await order({ action: ACTION_GROW });
  const { routingVersion } = loadState(cluster.directory);
  cluster.diskError = new FsError('IO', 'the disk is gone');
  await cluster.pass(300);
  expect(cluster.manager.routing.chains).toHaveLength(4);
  expect(cluster.manager.routing.version).toBe(routingVersion);
  cluster.diskError = undefined;
  await untilDone();
  expect(table()).toMatchObject({ version: 2, lengths: [4], chains: [1, 2, 3, 4, 5, 6] });
});

test('what cannot be stored is not begun', async () => {
  cluster.diskError = new FsError('IO', 'the disk is gone');
  await expect(order({ action: ACTION_DRAIN, place: { node: 2, disk: undefined } })).rejects.toMatchObject({
    code: 'IO',
  });
  cluster.diskError = undefined;
  await beat();
  expect(cluster.manager.changeState).toMatchObject({ changes: [], closed: [] });
  expect(members().every((member) => member.tenure === STAYS)).toBe(true);
  await expect(order({ action: ACTION_REMOVE, place: { node: 2, disk: undefined } })).rejects.toMatchObject({
    code: 'BUSY',
  });
});
