// Tells the manager of each process that this host saw end, until the manager confirms (P1 b): it is the
// proof that lets a chain change within a second instead of after the lease.
import { bootMsFromProc, type Logger, message, RpcClient, realClock, rpcs } from '@catena/core';
import type { ProcessSpec, Role } from '../cluster/description.ts';

/** A manager that restarts is back within a second or two; the report should not wait much longer than that. */
const retryMs = 200;
/** More exits than that without a manager say nothing that the newest do not: the oldest go. */
const pendingMax = 64;

const kinds: Partial<Record<Role, message.NodeKind>> = {
  storage: message.NodeKind.NODE_STORAGE,
  meta: message.NodeKind.NODE_META,
  mount: message.NodeKind.NODE_CLIENT,
};

interface Exit {
  readonly kind: message.NodeKind;
  readonly node: number;
  readonly pid: number;
}

export class ExitReporter {
  readonly #managers: readonly string[];
  readonly #logger: Logger;
  readonly #clock = realClock(bootMsFromProc);
  #pending: Exit[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** A round is under way or has a timer. */
  #sending = false;
  #closed = false;

  constructor(managers: readonly string[], logger: Logger) {
    this.#managers = managers;
    this.#logger = logger;
  }

  /** The process is gone: waitpid said so. The manager itself is nobody's member, so its own end is not reported. */
  report(spec: ProcessSpec, pid: number): void {
    const kind = kinds[spec.role];
    if (kind === undefined) return;
    this.#pending.push({ kind, node: spec.node, pid });
    if (this.#pending.length > pendingMax) this.#pending.shift();
    if (!this.#sending) void this.#send();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #send(): Promise<void> {
    this.#sending = true;
    // One of them decides; the others refuse.
    for (const manager of this.#managers) {
      try {
        await this.#sendTo(manager);
        break;
      } catch (error) {
        this.#logger.debug('exit.unconfirmed', { manager, error });
      }
    }
    this.#sending = !this.#closed && this.#pending.length > 0;
    if (this.#sending) this.#timer = setTimeout(() => void this.#send(), retryMs);
  }

  async #sendTo(manager: string): Promise<void> {
    const client = await RpcClient.connect(manager, { clock: this.#clock, connectTimeoutMs: 1_000 });
    try {
      while (this.#pending[0] !== undefined) {
        const exit = this.#pending[0];
        await client.call(rpcs.exitReport, { kind: exit.kind, node: exit.node, pid: exit.pid });
        this.#pending = this.#pending.filter((other) => other !== exit);
        this.#logger.info('exit.confirmed', { node: exit.node, pid: exit.pid });
      }
    } finally {
      await client.close();
    }
  }
}
