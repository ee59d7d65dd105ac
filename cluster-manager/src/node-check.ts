// Looks whether a node's port still answers, as soon as somebody suspects it (P1). What it finds is shown and
// logged, never believed: only a lease that ran out or a proven end takes a node out of its chains.
import { type Clock, FsError, type Logger, type Metrics, message, RpcClient } from '@catena/core';
import type { Manager } from './manager.ts';

/** A host that lives accepts a connection within this, even under load. */
const connectTimeoutMs = 1_000;

export class NodeCheck {
  readonly #parts: { manager: () => Manager; clock: Clock; log: Logger };
  readonly #running = new Set<number>(); // one check of a node at a time bounds them by the number of nodes
  readonly #refused: { add(): void };

  constructor(parts: { manager: () => Manager; clock: Clock; log: Logger; metrics: Metrics }) {
    this.#parts = parts;
    this.#refused = parts.metrics.counter(
      'node_check_failure_total',
      'Suspected nodes whose port did not answer.',
    );
  }

  start(id: number): void {
    const node = this.#parts.manager().routing.node(message.NodeKind.NODE_STORAGE, id);
    if (node === undefined || node.address === '' || this.#running.has(id)) return;
    this.#running.add(id);
    void this.#look(id, node.address).finally(() => this.#running.delete(id));
  }

  async #look(node: number, address: string): Promise<void> {
    const { clock, log } = this.#parts;
    try {
      const client = await RpcClient.connect(address, { clock, connectTimeoutMs });
      await client.close();
      log.info('node.check', { node, address, answers: true });
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#refused.add();
      log.warning('node.check', { node, address, answers: false, error });
    }
  }
}
