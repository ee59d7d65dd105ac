// A manager that begins with an older state than it once had, over real TCP, with the real transition of chains.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { message, RpcClient, rpcs } from '@catena/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { jsonPages } from './pages.ts';
import { Cluster, network } from './testing/cluster.ts';
import { StorageNode } from './testing/storage-node.ts';

const { NODE_STORAGE } = message.NodeKind;
const { ACTION_ADOPT, ACTION_DRAIN } = message.ChangeAction;
const { PUBLIC_SERVING } = message.PublicState;

let cluster: Cluster;
let nodes: StorageNode[];
let copy: Buffer;
const stateFile = (): string => join(cluster.directory, 'state');

/** A copy of the state is from when all three served; since then node 3 has left every chain. */
beforeEach(async () => {
  cluster = await new Cluster().init();
  nodes = [1, 2, 3].map((id) => new StorageNode(id, 1n));
  for (const node of nodes) await node.register(cluster);
  for (const node of nodes) await node.heartbeat();
  for (const node of nodes) [node.fresh, node.state] = [false, message.LocalState.LOCAL_UPTODATE];
  await settle();
  for (const node of nodes) await node.heartbeat();
  await settle();
  copy = readFileSync(stateFile());
  const { pid, incarnation } = nodes[2]!;
  await nodes[0]!.client.call(rpcs.exitReport, { kind: NODE_STORAGE, node: 3, pid, incarnation });
  await settle();
});
afterEach(async () => {
  for (const node of nodes) await node.client.close();
  await cluster.close();
});

async function settle(): Promise<void> {
  await expect.poll(() => nodes.every((node) => node.version === cluster.manager.routing.version)).toBe(true);
}

async function putBack(): Promise<void> {
  for (const node of nodes) await node.client.close();
  writeFileSync(stateFile(), copy);
  await cluster.restart();
}

const chains = (): { held: string | null; heldReason: string | null }[] =>
  jsonPages(() => cluster.manager)['/api/chains.json']!() as never;
const versions = (): bigint[] => cluster.manager.routing.chains.map((chain) => chain.version);
const serving = (): number[][] =>
  cluster.manager.routing.chains.map((chain) =>
    chain.members.flatMap(({ node, state }) => (state === PUBLIC_SERVING ? [node] : [])).sort(),
  );

test('a chain is held until all have spoken, frozen while somebody knows more, and then what they know', async () => {
  const told = cluster.manager.routing.version;
  const newest = versions();
  const [first, second] = nodes;
  await putBack();
  const before = versions();
  await cluster.pass(200);
  expect(chains().map(({ held }) => held)).toEqual(['waiting', 'waiting']);
  await first!.register(cluster);
  expect(cluster.manager.routing.version).toBeGreaterThan(told);
  const reply = await first!.heartbeat();
  expect([reply.leaseMs, reply.heldChains.toSorted()]).toEqual([5_000, [1, 2]]);
  await cluster.pass(20_000); // nobody else can be alive
  expect([versions(), chains().map(({ held }) => held)]).toEqual([before, ['frozen', 'frozen']]);
  expect(chains()[0]!.heldReason).toMatch(/to be heard: target \d+ on node 2$/);
  await second!.register(cluster);
  await first!.heartbeat().catch(() => first!.register(cluster));
  expect(chains().map(({ held }) => held)).toEqual([null, null]);
  for (const [index, version] of versions().entries()) expect(version).toBeGreaterThan(newest[index]!);
  await first!.heartbeat();
  const { leaseMs, heldChains } = await second!.heartbeat();
  expect([leaseMs, heldChains]).toEqual([5_000, []]);
  expect(serving()).toEqual([
    [1, 2],
    [1, 2],
  ]);
  await settle2(first!, second!);
  expect([...first!.known.values()].map(({ version }) => version)).toEqual(versions());
});

async function settle2(...some: StorageNode[]): Promise<void> {
  await expect.poll(() => some.every((node) => node.version === cluster.manager.routing.version)).toBe(true);
}

test('nothing is changed while a chain is frozen, but by an order to adopt what is known', async () => {
  await putBack();
  await nodes[0]!.register(cluster);
  await cluster.pass(200);
  const admin = await RpcClient.connect(cluster.address, { clock: network });
  const drain = { action: ACTION_DRAIN, place: { node: 3 } };
  await expect(admin.call(rpcs.change, drain)).rejects.toMatchObject({ code: 'OUTDATED_STATE' });
  const { detail } = await admin.call(rpcs.change, { action: ACTION_ADOPT });
  expect(detail).toBe('2 chains are what their targets know');
  expect(chains().map(({ held }) => held)).not.toContain('frozen');
  expect(cluster.manager.routing.chains.every((chain) => chain.last.length === 2)).toBe(true);
  expect(await admin.call(rpcs.change, { action: ACTION_ADOPT })).toMatchObject({
    detail: 'no chain is frozen',
  });
  await admin.close();
});

test('a server that the state does not know is admitted if it knows more than the state', async () => {
  await putBack();
  const { nodes: stored } = cluster.manager.routing;
  const stranger = new StorageNode(9, 1n);
  await expect(stranger.register(cluster)).rejects.toThrow('none of this cluster');
  await stranger.client.close();
  for (const [id, chain] of nodes[0]!.known) stranger.known.set(id, chain);
  await stranger.register(cluster);
  expect(cluster.manager.routing.nodes.length).toBe(stored.length + 1);
  await stranger.client.close();
});
