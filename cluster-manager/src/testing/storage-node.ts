// A storage node as the data plane behaves towards the manager, for tests: it registers, holds the routing
// that it is sent, and reports what it is told to. Deltas that do not fit on what it holds are an error here.
import { strict as assert } from 'node:assert';
import { featureLevel, message, RpcClient, rpcs } from '@catena/core';
import { follows } from '../lineage.ts';
import { type Cluster, network } from './cluster.ts';

export class StorageNode {
  client!: RpcClient;
  readonly id: number;
  readonly incarnation: bigint;
  readonly pid: number;
  version = 0n;
  readonly chains = new Map<number, message.Chain>();
  /** What it believed, over managers. */
  readonly known = new Map<number, message.Chain>();
  /** By id, as it was told last. */
  readonly tables = new Map<number, message.ChainTable>();
  readonly liveClients = new Set<string>();
  readonly fencedClients: string[] = [];
  /** Set: the routing version up to which it confirms fences, whatever it holds. */
  fencesHeld: bigint | undefined;
  state: message.LocalState = message.LocalState.LOCAL_ONLINE;
  fresh = true;
  complete = true;
  /** Whether it says so as the last member of a chain that is reordering. */
  rests = true;
  pushes = 0;
  disks = 1;
  sequence = 0n;

  constructor(id: number, incarnation: bigint) {
    this.id = id;
    this.incarnation = incarnation;
    this.pid = id * 1000 + Number(incarnation);
  }

  async register(cluster: Cluster): Promise<message.RegisterReply> {
    this.client = await RpcClient.connect(cluster.address, {
      clock: network,
      onPush: (_kind, bytes) => {
        this.pushes++;
        this.apply(message.RoutingPush.decode(bytes).routing);
      },
    });
    const routingVersion = this.version;
    this.version = 0n;
    const reply = await this.client.call(rpcs.register, {
      kind: message.NodeKind.NODE_STORAGE,
      node: this.id,
      incarnation: this.incarnation,
      address: `127.0.0.1:${7410 + this.id}`,
      cluster: 'c',
      featureLevel,
      pid: this.pid,
      disks: Array.from({ length: this.disks }, (_, disk) => `/disk-${disk}`),
      routingVersion,
      chains: [...this.known.values()],
      targets: this.known.size === 0 ? [] : this.reports(),
    });
    this.apply(reply.routing);
    return reply;
  }

  apply(routing: message.Routing | undefined): void {
    if (routing === undefined) return;
    if (routing.fromVersion === 0n) this.liveClients.clear();
    else assert.equal(routing.fromVersion, this.version, 'a delta on top of another version');
    this.version = routing.version;
    for (const chain of routing.chains) {
      this.chains.set(chain.id, chain);
      const known = this.known.get(chain.id);
      const isOwn = chain.members.some((member) => member.node === this.id);
      if (isOwn && (known === undefined || follows(chain, known.term, known.version))) {
        this.known.set(chain.id, chain);
      }
    }
    for (const table of routing.tables) this.tables.set(table.id, table);
    for (const id of routing.clientsRemoved) this.liveClients.delete(id.toString('hex'));
    for (const id of routing.clientsAdded) this.liveClients.add(id.toString('hex'));
    for (const id of routing.clientsFenced) this.fencedClients.push(id.toString('hex'));
  }

  reports(): message.TargetReport[] {
    return [...this.chains.values()].flatMap((chain) =>
      chain.members
        .filter((member) => member.node === this.id)
        .map((member) =>
          message.TargetReport.fromPartial({
            target: member.target,
            chain: chain.id,
            chainVersion: chain.version,
            state: this.state,
            fresh: this.fresh || chain.last.length === 0,
            fencesHeld: this.fencesHeld ?? this.version,
            complete: this.complete,
            knownVersion: this.known.get(chain.id)?.version ?? 0n,
            knownTerm: this.known.get(chain.id)?.term ?? 0n,
            stopped: member.tenure === message.Tenure.STOPS,
            atRest: this.rests && chain.reordering && member === chain.members.at(-1),
          }),
        ),
    );
  }

  async heartbeat(): Promise<message.HeartbeatReply> {
    const reply = await this.client.call(rpcs.heartbeat, {
      kind: message.NodeKind.NODE_STORAGE,
      node: this.id,
      incarnation: this.incarnation,
      sequence: ++this.sequence,
      routingVersion: this.version,
      targets: this.reports(),
    });
    this.apply(reply.routing);
    return reply;
  }
}
