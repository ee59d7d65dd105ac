// What a manager counts, for whoever watches it.
import type { Metrics } from '@catena/core';
import type { ChainWatch } from './chain-watch.ts';
import type { Clients } from './clients.ts';
import type { RoutingTable } from './routing.ts';

export interface Observed {
  readonly routing: RoutingTable;
  readonly clients: Clients;
  readonly watch: ChainWatch;
  readonly nodesAlive: () => number;
}

export function addGauges(metrics: Metrics, { routing, clients, watch, nodesAlive }: Observed): void {
  const gauge = (name: string, help: string, value: () => number): void =>
    metrics.observed(name, help, 'gauge', value);
  gauge('routing_version', 'Version of the routing table.', () => Number(routing.version));
  gauge('client_live', 'Clients that hold a lease.', () => clients.size);
  gauge('client_fencing', 'Clients whose fence does not hold everywhere yet.', () => routing.fencing.length);
  gauge('node_alive', 'Nodes that hold a lease.', nodesAlive);
  gauge(
    'chain_frozen',
    'Chains of which targets know more than the manager: its state is old.',
    () => watch.frozen.length,
  );
}
