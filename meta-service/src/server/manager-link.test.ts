import {
  FsError,
  handle,
  ManualClock,
  message,
  oneWays,
  RpcServer,
  rpcs,
  type ServerConnection,
  seededRandom,
  silentLogger,
} from '@catena/core';
import { afterEach, expect, test } from 'vitest';
import { settle } from '../testing/service.ts';
import { ManagerLink } from './manager-link.ts';

/** The manager's half of the protocol: says what the test tells it to. */
class Peer {
  readonly registrations: message.RegisterRequest[] = [];
  readonly heartbeats: message.HeartbeatRequest[] = [];
  gaveBack = 0;
  routing = message.Routing.fromPartial({ version: 5n, tables: [{ id: 1, version: 1, chains: [1, 2] }] });
  connection: ServerConnection | undefined;
  refuse = false;
  /** Whom it names instead. */
  primary = '';
  readonly server: RpcServer;

  constructor(clock: ManualClock) {
    this.server = new RpcServer({
      clock,
      handlers: [
        handle(rpcs.register, (request, { connection }) => {
          this.connection = connection;
          this.registrations.push(request);
          if (this.refuse) throw new FsError('NOT_PRIMARY', this.primary);
          return {
            cluster: 'here',
            featureLevel: 3,
            heartbeatMs: 1_000,
            leaseMs: 5_000,
            routing: this.routing,
          };
        }),
        handle(rpcs.heartbeat, (request) => {
          this.heartbeats.push(request);
          const isCurrent = request.routingVersion === this.routing.version;
          return {
            sequence: request.sequence,
            leaseMs: 5_000,
            routing: isCurrent ? undefined : this.routing,
            heldChains: [],
          };
        }),
        handle(rpcs.giveBack, () => {
          this.gaveBack++;
          return {};
        }),
      ],
    });
  }
}

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function linked(count = 1) {
  const clock = new ManualClock();
  const peers = Array.from({ length: count }, () => new Peer(clock));
  const managers: string[] = [];
  for (const peer of peers) managers.push(await peer.server.listen('127.0.0.1:0'));
  const heard: message.Routing[] = [];
  const clusters: string[] = [];
  const link = new ManagerLink({
    managers,
    node: 1001,
    incarnation: 77n,
    address: '127.0.0.1:7401',
    clock,
    random: seededRandom(1),
    log: silentLogger,
    featureLevel: 4,
    cluster: () => 'here',
    onRegistered: (cluster, level) => clusters.push(`${cluster} at ${level}`),
    onRouting: (routing) => heard.push(routing),
  });
  closers.push(async () => {
    const stopped = link.stop();
    for (let step = 0; step < 20; step++) await pass(clock, 100);
    await stopped;
    // The cut-off of a server that closes is on the test's clock.
    const closed = Promise.all(peers.map((peer) => peer.server.close()));
    await pass(clock, 1_000);
    await closed;
  });
  return { clock, peers, link, managers, heard, clusters };
}

async function pass(clock: ManualClock, ms: number): Promise<void> {
  clock.advance(ms);
  await new Promise((resolve) => setTimeout(resolve, 1));
  await settle();
}
async function until(clock: ManualClock, holds: () => boolean): Promise<void> {
  for (let step = 0; step < 2_000 && !holds(); step++) await pass(clock, 50);
  expect(holds()).toBe(true);
}

test('registers as a metadata service, beats, and hears routing by reply and by push', async () => {
  const { clock, peers, link, heard, clusters } = await linked();
  const [peer] = peers as [Peer];
  link.start();
  await until(clock, () => peer.heartbeats.length >= 2);
  expect(peer.registrations[0]).toMatchObject({
    kind: message.NodeKind.NODE_META,
    node: 1001,
    incarnation: 77n,
    address: '127.0.0.1:7401',
    cluster: 'here',
    featureLevel: 4,
  });
  expect(peer.heartbeats[1]!.routingVersion).toBe(5n);
  expect(clusters).toEqual(['here at 3']);
  expect(heard.map((routing) => routing.version)).toEqual([5n]);
  const delta = message.Routing.fromPartial({ version: 6n, fromVersion: 5n });
  peer.connection!.push(oneWays.routingPush, { routing: delta });
  await until(clock, () => heard.length === 2);
  // A delta on top of something else is left out; the next heartbeat brings the whole.
  peer.connection!.push(oneWays.routingPush, {
    routing: message.Routing.fromPartial({ version: 9n, fromVersion: 8n }),
  });
  peer.routing = message.Routing.fromPartial({ version: 9n });
  await until(clock, () => heard.length === 3);
  expect(heard.map((routing) => [routing.version, routing.fromVersion])).toEqual([
    [5n, 0n],
    [6n, 5n],
    [9n, 0n],
  ]);
});

test('gives its lease back when it stops', async () => {
  const { clock, peers, link } = await linked();
  link.start();
  await until(clock, () => link.isRegistered && peers[0]!.registrations.length === 1);
  const stopped = link.stop();
  await until(clock, () => peers[0]!.gaveBack === 1);
  await stopped;
  expect(link.isRegistered).toBe(false);
});

test('comes back after a lost connection, and tries the next manager if one refuses', async () => {
  const { clock, peers, link } = await linked(2);
  const [first, second] = peers as [Peer, Peer];
  link.start();
  await until(clock, () => first.registrations.length === 1);
  first.refuse = true;
  first.connection!.close(new FsError('CONNECTION_LOST', 'the test'));
  await until(clock, () => second.registrations.length >= 1);
  await until(clock, () => link.isRegistered && second.heartbeats.length > 0);
  expect(link.lastError).toBeUndefined();
});

test('goes at once to the manager that another one names, also if it was told of none', async () => {
  const { clock, peers, link, managers } = await linked(2);
  const [first, second] = peers as [Peer, Peer];
  first.refuse = true;
  first.primary = managers.pop()!;
  link.start();
  await until(clock, () => link.isRegistered && second.heartbeats.length > 0);
  expect([first.registrations.length, second.registrations.length]).toEqual([1, 1]);
});
