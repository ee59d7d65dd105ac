// A worker process: one slot, one database. It dials the driver, runs the tasks that it is sent one after
// another, and ends at once when the driver is gone: an orphan would go on writing for nobody.
import { hostname } from 'node:os';
import { bootMsFromProc, type Clock, FsError, message, RpcClient, realClock } from '@catena/core';
import { Database, type EngineConnection } from '../engine/database.ts';
import type { Failure } from '../schedule/scheduler.ts';
import { execute, InputLost } from './execute.ts';
import {
  heartbeatMs,
  jobRpc,
  type Order,
  parseOrder,
  proofOf,
  protocolVersion,
  type Report,
  type RunOrder,
} from './protocol.ts';

interface Settings {
  readonly address: string;
  readonly token: string;
  readonly slot: string;
  readonly threads: number;
  readonly memoryBytes: number;
  readonly spillDirectory: string;
}

class Worker {
  readonly #settings: Settings;
  readonly #clock: Clock = realClock(bootMsFromProc);
  #database!: Database;
  #client!: RpcClient;
  #epoch = 0;
  #running: { order: RunOrder; connection: EngineConnection | undefined; stopped: boolean } | undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  async start(): Promise<void> {
    const { address, threads, memoryBytes, spillDirectory, slot, token } = this.#settings;
    this.#client = await RpcClient.connect(address, {
      clock: this.#clock,
      onPush: (kind, body) => this.#receive(kind, message.JobRequest.decode(body).body),
    });
    void this.#client.closed.then(() => endNow(0));
    this.#database = await Database.open({ threads, memoryBytes, spillDirectory });
    const hello = await this.#report({
      kind: 'hello',
      protocol: protocolVersion,
      slot,
      node: hostname(),
      pid: process.pid,
      nodeVersion: process.version,
    });
    await this.#report({ kind: 'proof', proof: proofOf(token, hello, slot) });
    this.#beat();
  }

  #beat(): void {
    this.#clock.timer(heartbeatMs, () => {
      this.#report({ kind: 'heartbeat' }).then(
        () => this.#beat(),
        () => endNow(1),
      );
    });
  }

  async #report(report: Report): Promise<string> {
    return (await this.#client.call(jobRpc, { body: JSON.stringify(report) })).body;
  }

  #receive(kind: number, body: string): void {
    if (kind !== message.MessageKind.KIND_JOB) return;
    const order: Order = parseOrder(body);
    if (order.kind === 'stop') {
      const running = this.#running;
      if (running?.order.task !== order.task || running.order.attempt !== order.attempt) return;
      running.stopped = true;
      running.connection?.interrupt();
      return;
    }
    void this.#run(order);
  }

  async #run(order: RunOrder): Promise<void> {
    const { task, attempt } = order;
    const report = await this.#attempt(order).then(
      (result): Report => ({ kind: 'done', task, attempt, result }),
      (error: unknown): Report => ({ kind: 'failed', task, attempt, failure: failureOf(error) }),
    );
    await this.#report(report)
      .catch(async (error: unknown) => {
        if (!(error instanceof FsError) || error.code !== 'INVALID_ARGUMENT') throw error;
        // Longer than a frame may be, for example an ENUM of a million names.
        const detail = `the report of task ${task}: ${error.detail}`;
        const failure: Failure = { code: 'NOT_SUPPORTED', detail, retryable: false, lostInputs: [] };
        await this.#report({ kind: 'failed', task, attempt, failure });
      })
      // A driver that takes no report has closed, or will: either way it counts this worker as lost.
      .catch(() => endNow(1));
  }

  async #attempt(order: RunOrder) {
    if (order.epoch < this.#epoch) {
      throw new FsError('FENCED', `an order of epoch ${order.epoch}; this worker serves ${this.#epoch}`);
    }
    this.#epoch = order.epoch;
    if (this.#running !== undefined)
      throw new FsError('BUSY', `this worker runs ${this.#running.order.task}`);
    const running = { order, connection: undefined as EngineConnection | undefined, stopped: false };
    this.#running = running;
    try {
      const connection = await this.#database.connect();
      running.connection = connection;
      try {
        await connection.setWidth(order.threads, order.memoryBytes);
        if (running.stopped) throw new FsError('CANCELLED', `task ${order.task}`);
        return await execute(connection, order, this.#clock);
      } finally {
        running.connection = undefined;
        connection.close();
      }
    } finally {
      this.#running = undefined;
    }
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof FsError)) throw error;
  const lostInputs = error instanceof InputLost ? error.tasks : [];
  // Disks and memory may be better elsewhere or later; a wrong query never is.
  const retryable = error.retryable || error.code === 'IO' || error.code === 'INTERNAL';
  return { code: error.code, detail: error.detail, retryable, lostInputs };
}

/** Without waiting for a query that runs: process.exit would wait for DuckDB's threads. */
function endNow(code: number): never {
  if (code === 0) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

function settingsFromEnvironment(): Settings {
  const text = (name: string): string => {
    const value = process.env[`CATENA_WORKER_${name}`];
    if (value === undefined || value === '') {
      throw new FsError('BAD_CONFIG', `CATENA_WORKER_${name} is not set; workers are started by a session`);
    }
    return value;
  };
  const settings = {
    address: text('DRIVER'),
    token: text('TOKEN'),
    slot: text('SLOT'),
    threads: Number(text('THREADS')),
    memoryBytes: Number(text('MEMORY_BYTES')),
    spillDirectory: text('SPILL'),
  };
  // Nothing that a query starts or prints may see the token.
  delete process.env.CATENA_WORKER_TOKEN;
  return settings;
}

try {
  await new Worker(settingsFromEnvironment()).start();
} catch (error) {
  process.stderr.write(`catena worker: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
