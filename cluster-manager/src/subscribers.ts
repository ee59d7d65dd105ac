// Everybody who is told each change of the routing: what they were sent, so that pushes and answers together give
// them every version once and in order.
import { type Metrics, message, oneWays, type ServerConnection } from '@catena/core';
import type { NodeKey } from './leases.ts';
import type { RoutingTable } from './routing.ts';

interface Subscriber {
  /** The newest version that it was sent. */
  sent: bigint;
  /** What had been sent when its last heartbeat was answered: if it still holds less, it could not use it. */
  sentBefore: bigint;
  readonly node: NodeKey | undefined;
}

export class Subscribers {
  readonly #routing: RoutingTable;
  readonly #all = new Map<ServerConnection, Subscriber>();
  readonly #pushes: { add(): void };

  constructor(routing: RoutingTable, metrics: Metrics) {
    this.#routing = routing;
    this.#pushes = metrics.counter('routing_push_total', 'Routing changes sent to nodes and clients.');
  }

  /** Returns the whole table. */
  add(connection: ServerConnection, node: NodeKey | undefined): message.Routing {
    const { version } = this.#routing;
    // It may have been lost while a change was stored.
    if (connection.isOpen) this.#all.set(connection, { sent: version, sentBefore: version, node });
    return this.#routing.whole();
  }

  /** The node whose heartbeats came on this connection, if any. */
  remove(connection: ServerConnection): NodeKey | undefined {
    const subscriber = this.#all.get(connection);
    this.#all.delete(connection);
    return subscriber?.node;
  }

  /** Tells everybody what they lack. */
  push(): void {
    const encoded = new Map<bigint, Uint8Array>();
    for (const [connection, subscriber] of this.#all) {
      const routing = encoded.has(subscriber.sent) ? undefined : this.#routing.since(subscriber.sent);
      if (routing !== undefined) {
        encoded.set(subscriber.sent, message.RoutingPush.encode({ routing }).finish());
      }
      const bytes = encoded.get(subscriber.sent);
      if (bytes === undefined) continue;
      connection.pushBytes(oneWays.routingPush.kind, bytes);
      subscriber.sent = this.#routing.version;
      this.#pushes.add();
    }
  }

  /** For the answer to a heartbeat of one that holds this version. */
  missing(held: bigint, connection: ServerConnection): message.Routing | undefined {
    const subscriber = this.#all.get(connection);
    if (subscriber === undefined) return this.#routing.since(held);
    const couldNotUse = held < subscriber.sentBefore;
    // What was pushed before this answer arrives before it, so the answer goes on from there.
    const base = held > subscriber.sent ? held : subscriber.sent;
    subscriber.sent = this.#routing.version;
    subscriber.sentBefore = this.#routing.version;
    return couldNotUse ? this.#routing.whole() : this.#routing.since(base);
  }

  /** What a caller with this version lacks; version 0 asks for all. */
  since(version: bigint, connection: ServerConnection): message.Routing | undefined {
    const subscriber = this.#all.get(connection);
    if (subscriber !== undefined) subscriber.sent = this.#routing.version;
    return this.#routing.since(version);
  }
}
