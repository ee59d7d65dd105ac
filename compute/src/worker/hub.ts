// The driver's end of its workers: the address they dial, the proof of the token, their heartbeats, orders
// out and reports in. Our own heartbeat decides who is alive; what a platform says about a process only makes
// it known sooner.
import { strict as assert } from 'node:assert';
import {
  type Clock,
  FsError,
  handle,
  type Logger,
  messageBytesMax,
  type Random,
  RpcServer,
  type ServerConnection,
  type Timer,
} from '@catena/core';
import type { TaskResult } from '../plan/task.ts';
import type { Failure } from '../schedule/scheduler.ts';
import {
  heartbeatMs,
  heartbeatsMissedMax,
  isProof,
  jobPush,
  jobRpc,
  type Order,
  parseReport,
  protocolVersion,
  type Report,
} from './protocol.ts';

export interface WorkerInfo {
  /** Unique for ever: slot and life, so that a restarted worker is another one. */
  readonly id: string;
  readonly slot: string;
  readonly node: string;
  readonly pid: number;
}

export interface HubEvents {
  up(worker: WorkerInfo): void;
  lost(worker: WorkerInfo, detail: string): void;
  done(worker: WorkerInfo, task: string, attempt: number, result: TaskResult): void;
  failed(worker: WorkerInfo, task: string, attempt: number, failure: Failure): void;
}

interface Member {
  info: WorkerInfo | undefined;
  hello: Extract<Report, { kind: 'hello' }> | undefined;
  nonce: string;
  heardMs: number;
}

/** What a frame's message may hold, less its header. */
const orderBytesMax = messageBytesMax - 1024;

export interface HubOptions {
  clock: Clock;
  random: Random;
  log: Logger;
  token: string;
  events: HubEvents;
}

export class WorkerHub {
  readonly #options: HubOptions;
  readonly #server: RpcServer;
  readonly #members = new Map<ServerConnection, Member>();
  readonly #byId = new Map<string, ServerConnection>();
  #watch: Timer | undefined;
  #lives = 0;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#server = new RpcServer({
      clock: options.clock,
      log: options.log,
      handlers: [handle(jobRpc, (request, context) => this.#receive(request.body, context.connection))],
      onConnection: (connection) => {
        const heardMs = options.clock.nowMs();
        this.#members.set(connection, { info: undefined, hello: undefined, nonce: '', heardMs });
      },
      onClosed: (connection) => this.#gone(connection, 'its connection closed'),
    });
  }

  async listen(address: string): Promise<string> {
    this.#watchHeartbeats();
    return await this.#server.listen(address);
  }

  /**
   * Nothing happens if the worker is gone: its loss is reported apart. NOT_SUPPORTED if the order is too
   * long.
   */
  send(worker: string, order: Order): void {
    const body = JSON.stringify(order);
    if (Buffer.byteLength(body) > orderBytesMax) {
      const detail = `task ${order.task} reads too many files or columns for one order`;
      throw new FsError('NOT_SUPPORTED', `${detail}; repartition its input into more partitions`);
    }
    const connection = this.#byId.get(worker);
    if (connection?.isOpen === true) connection.push(jobPush, { header: undefined, body });
  }

  /** Cuts a worker off, for example because its process ended. */
  drop(worker: string, detail: string): void {
    const connection = this.#byId.get(worker);
    if (connection !== undefined) this.#gone(connection, detail);
  }

  get workers(): WorkerInfo[] {
    return [...this.#members.values()].flatMap((member) => member.info ?? []);
  }

  async close(): Promise<void> {
    this.#watch?.cancel();
    this.#members.clear();
    this.#byId.clear();
    await this.#server.close();
  }

  #receive(body: string, connection: ServerConnection): { body: string } {
    const report = parseReport(body);
    const member = this.#members.get(connection);
    if (member === undefined) throw new FsError('FENCED', 'this worker has been given up');
    member.heardMs = this.#options.clock.nowMs();
    if (report.kind === 'hello') return { body: this.#hello(member, report) };
    if (report.kind === 'proof') {
      this.#prove(member, connection, report.proof);
      return { body: '' };
    }
    const { info } = member;
    if (info === undefined) throw new FsError('PERMISSION_DENIED', 'a report before the proof');
    const { events } = this.#options;
    if (report.kind === 'done') events.done(info, report.task, report.attempt, report.result);
    if (report.kind === 'failed') events.failed(info, report.task, report.attempt, report.failure);
    return { body: '' };
  }

  #hello(member: Member, hello: Extract<Report, { kind: 'hello' }>): string {
    if (hello.protocol !== protocolVersion) {
      const detail = `worker ${hello.slot} speaks protocol ${hello.protocol}, this driver ${protocolVersion}`;
      throw new FsError('NOT_SUPPORTED', `${detail}; run the same release on every node`);
    }
    member.hello = hello;
    member.nonce = this.#options.random.bytes(16).toString('hex');
    return member.nonce;
  }

  #prove(member: Member, connection: ServerConnection, proof: string): void {
    const { hello, nonce } = member;
    if (hello === undefined || !isProof(proof, this.#options.token, nonce, hello.slot)) {
      this.#options.log.warning('worker.refusal', { peer: connection.peer });
      throw new FsError('PERMISSION_DENIED', 'the token of this job is another one');
    }
    assert(member.info === undefined, 'a worker that proves itself twice');
    this.#lives++;
    const { slot, node, pid } = hello;
    member.info = { id: `${slot}.${this.#lives}`, slot, node, pid };
    this.#byId.set(member.info.id, connection);
    this.#options.log.debug('worker.arrival', { worker: member.info.id, pid });
    this.#options.events.up(member.info);
  }

  #gone(connection: ServerConnection, detail: string): void {
    const member = this.#members.get(connection);
    if (member === undefined) return;
    this.#members.delete(connection);
    connection.close(new FsError('CONNECTION_LOST', detail));
    if (member.info === undefined) return;
    this.#byId.delete(member.info.id);
    this.#options.events.lost(member.info, detail);
  }

  #watchHeartbeats(): void {
    this.#watch = this.#options.clock.timer(
      heartbeatMs,
      () => {
        const oldestMs = this.#options.clock.nowMs() - heartbeatMs * heartbeatsMissedMax;
        for (const [connection, member] of [...this.#members]) {
          if (member.heardMs < oldestMs)
            this.#gone(connection, `no heartbeat for ${heartbeatMs * heartbeatsMissedMax} ms`);
        }
        this.#watchHeartbeats();
      },
      { background: true },
    );
  }
}
