// Changes of nodes and disks through the whole manager: real TCP, real transitions, real state on disk. The storage
// nodes say what real ones say: synced at once, stopped when told.
import { FsError, message, RpcClient, rpcs } from '@catena/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { jsonPages } from './pages.ts';
import { loadState } from './state.ts';
import { Cluster, network } from './testing/cluster.ts';
import { StorageNode } from './testing/storage-node.ts';

const { ACTION_DRAIN, ACTION_REPLACE, ACTION_ADD, ACTION_REMOVE, ACTION_ABORT } = message.ChangeAction;
const { NODE_STORAGE } = message.NodeKind;
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

/** Until nothing is left of any change; at every moment each chain has as many serving as it had. */
async function untilDone(least = 3): Promise<void> {
  for (let round = 0; cluster.manager.changeState.changes.length > 0; round++) {
    if (round > 200) throw new Error(`${cluster.states().join('\n')}`);
    await beat();
    for (const chain of cluster.manager.routing.chains) {
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
    await cluster.restart();
    for (const id of [1, 2, 3, 4]) {
      await nodes.get(id)!.client.close();
      const node = await start(id, 1n);
      [node.fresh, node.state] = [false, LOCAL_UPTODATE];
    }
    await beat();
  }
  expect([on(3), serving()]).toEqual([0, 12]);
});

test('a drain that is ended gives back what it had begun', async () => {
  for (const node of nodes.values()) node.state = LOCAL_ONLINE; // nobody is ever synced
  await order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } });
  await beat();
  await beat();
  expect(members().filter((member) => member.tenure !== STAYS).length).toBe(3);
  await expect(order({ action: ACTION_DRAIN, place: { node: 1, disk: undefined } })).rejects.toMatchObject({
    code: 'ALREADY_RUNNING',
  });
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
