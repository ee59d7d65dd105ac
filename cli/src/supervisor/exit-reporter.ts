// Tells the manager of each process that this host saw end, until the manager confirms (P1 b): it is the
// proof that lets a chain change within a second instead of after the lease.
import {
  bootMsFromProc,
  FsError,
  type Logger,
  message,
  RpcClient,
  realClock,
  rpcs,
  sleep,
} from '@catena/core';
import type { ProcessSpec, Role } from '../cluster/description.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** A manager that restarts is back within a second or two; the report should not wait much longer than that. */
const retryMs = 200;
const connectTimeoutMs = 1_000;
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
  /** Of a client, when its process started; 0: the pid alone says who. */
  readonly incarnation: bigint;
}

export class ExitReporter {
  readonly #managers: readonly string[];
  readonly #logger: Logger;
  readonly #clock = realClock(bootMsFromProc);
  #pending: Exit[] = [];
  /** Managers that are being told. */
  readonly #told = new Set<string>();
  readonly #closing = new AbortController();

  constructor(managers: readonly string[], logger: Logger) {
    this.#managers = managers;
    this.#logger = logger;
  }

  /** The process is gone: waitpid said so. The manager itself is nobody's member, so its own end is not reported. */
  report(
    spec: Pick<ProcessSpec, 'role' | 'node'>,
    { pid, startTicks = '0' }: Pick<ProcessIdentity, 'pid'> & Partial<ProcessIdentity>,
  ): void {
    const kind = kinds[spec.role];
    if (kind === undefined) return;
    // A server is known by its number; of clients there may be any on a host.
    const incarnation = kind === message.NodeKind.NODE_CLIENT ? BigInt(startTicks) : 0n;
    this.#pending.push({ kind, node: spec.node, pid, incarnation });
    if (this.#pending.length > pendingMax) this.#pending.shift();
    // One of them decides; the others refuse, and one that hangs holds nobody up.
    for (const manager of this.#managers) void this.#tell(manager);
  }

  close(): void {
    this.#closing.abort();
  }

  /** Until nothing is left to tell, whoever confirmed it. */
  async #tell(manager: string): Promise<void> {
    const { signal } = this.#closing;
    if (this.#told.has(manager)) return;
    this.#told.add(manager);
    while (this.#pending.length > 0 && !signal.aborted) {
      try {
        await this.#sendTo(manager, signal);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        this.#logger.debug('exit.unconfirmed', { manager, error });
        await sleep(this.#clock, retryMs, signal).catch(() => undefined);
      }
    }
    this.#told.delete(manager);
  }

  async #sendTo(manager: string, signal: AbortSignal): Promise<void> {
    const client = await RpcClient.connect(manager, { clock: this.#clock, connectTimeoutMs });
    try {
      for (let exit = this.#pending[0]; exit !== undefined; exit = this.#pending[0]) {
        await client.call(rpcs.exitReport, exit, { signal });
        if (!this.#pending.includes(exit)) continue; // another manager was faster
        this.#pending = this.#pending.filter((other) => other !== exit);
        this.#logger.info('exit.confirmed', { node: exit.node, pid: exit.pid, manager });
      }
    } finally {
      await client.close();
    }
  }
}
