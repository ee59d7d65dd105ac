import {
  FsError,
  handle,
  type Logger,
  message,
  RpcServer,
  realClock,
  rpcs,
  type ServerConnection,
  silentLogger,
} from '@catena/core';
import { afterEach, expect, test } from 'vitest';
import { ExitReporter } from './exit-reporter.ts';

const { NODE_CLIENT, NODE_META, NODE_STORAGE } = message.NodeKind;
const clock = realClock(() => performance.now());
const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

type Answer = (connection: ServerConnection) => Promise<void> | void;

/** A manager's ear. What it does with each report is the test's decision. */
class Manager {
  readonly heard: { kind: message.NodeKind; node: number; pid: number; incarnation: bigint }[] = [];
  answer: Answer = () => undefined;
  address = '';
  #server: RpcServer | undefined;
  #wake: () => void = () => undefined;

  async listen(address = '127.0.0.1:0'): Promise<this> {
    const server = new RpcServer({
      clock,
      handlers: [
        handle(rpcs.exitReport, async ({ kind, node, pid, incarnation }, { connection }) => {
          this.heard.push({ kind, node, pid, incarnation });
          this.#wake();
          await this.answer(connection);
          return {};
        }),
      ],
    });
    this.address = await server.listen(address);
    this.#server = server;
    undo.push(() => this.close());
    return this;
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  async untilHeard(count: number): Promise<void> {
    while (this.heard.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

interface Confirmations {
  readonly reporter: ExitReporter;
  readonly confirmed: number[];
  untilConfirmed(pid: number): Promise<void>;
  /** Somebody could not be told. */
  untilUnconfirmed(): Promise<void>;
}

function reporterTo(...managers: string[]): Confirmations {
  const confirmed: number[] = [];
  const waiting: (() => void)[] = [];
  let unconfirmed = (): void => undefined;
  const logger: Logger = {
    ...silentLogger,
    debug: () => unconfirmed(),
    info: (event, fields) => {
      if (event === 'exit.confirmed') confirmed.push(Number(fields?.pid));
      for (const wake of waiting.splice(0)) wake();
    },
  };
  const reporter = new ExitReporter(managers, logger);
  undo.push(() => reporter.close());
  return {
    reporter,
    confirmed,
    untilConfirmed: async (pid) => {
      while (!confirmed.includes(pid)) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    untilUnconfirmed: () => new Promise<void>((resolve) => (unconfirmed = resolve)),
  };
}

const storage = (node: number) => ({ role: 'storage', node }) as const;

test('reports that nobody takes are repeated until a manager is there, each of them, in their order', async () => {
  const away = await new Manager().listen();
  await away.close();
  const { reporter, confirmed, untilConfirmed, untilUnconfirmed } = reporterTo(away.address);
  const refused = untilUnconfirmed();
  reporter.report(storage(2), { pid: 20 });
  await refused;
  // Not only the first one; the end of a manager is nobody's news.
  reporter.report({ role: 'meta', node: 1001 }, { pid: 30, startTicks: '900' });
  reporter.report({ role: 'mount', node: 0 }, { pid: 40, startTicks: '1000' });
  reporter.report({ role: 'manager', node: 0 }, { pid: 50 });
  await untilUnconfirmed();
  expect(confirmed).toEqual([]);
  await away.listen(away.address);
  await untilConfirmed(40);
  expect(away.heard).toEqual([
    { kind: NODE_STORAGE, node: 2, pid: 20, incarnation: 0n },
    { kind: NODE_META, node: 1001, pid: 30, incarnation: 0n },
    { kind: NODE_CLIENT, node: 0, pid: 40, incarnation: 1000n },
  ]);
  expect(confirmed).toEqual([20, 30, 40]);
});

test('a report whose confirmation was lost is repeated, and confirmed once', async () => {
  const manager = await new Manager().listen();
  manager.answer = (connection) => {
    if (manager.heard.length > 2) return;
    connection.close(new FsError('CONNECTION_LOST', 'the test'));
  };
  const { reporter, confirmed, untilConfirmed } = reporterTo(manager.address);
  reporter.report(storage(3), { pid: 7 });
  await untilConfirmed(7);
  expect(manager.heard.map(({ pid }) => pid)).toEqual([7, 7, 7]);
  // It ends there: the next report is the next that is heard.
  reporter.report(storage(3), { pid: 8 });
  await untilConfirmed(8);
  expect(manager.heard.map(({ pid }) => pid)).toEqual([7, 7, 7, 8]);
  expect(confirmed).toEqual([7, 8]);
});

test('who does not decide refuses, who hangs holds nobody up: the one who decides is told', async () => {
  const [hung, standby, deciding] = [new Manager(), new Manager(), new Manager()];
  for (const manager of [hung, standby, deciding]) await manager.listen();
  let release = (): void => undefined;
  hung.answer = () => new Promise((resolve) => (release = resolve));
  undo.push(() => release());
  standby.answer = () => {
    throw new FsError('NOT_PRIMARY', '');
  };
  deciding.answer = standby.answer;
  const { reporter, confirmed, untilConfirmed } = reporterTo(hung.address, standby.address, deciding.address);
  reporter.report(storage(1), { pid: 5 });
  // Also while nobody decides yet.
  await Promise.all([hung.untilHeard(1), standby.untilHeard(2), deciding.untilHeard(2)]);
  expect(confirmed).toEqual([]);
  deciding.answer = () => undefined;
  await untilConfirmed(5);
  expect(confirmed).toEqual([5]);
  expect(hung.heard).toHaveLength(1);
});

test('of very many only the newest are kept, and a closed reporter is silent', async () => {
  const away = await new Manager().listen();
  await away.close();
  const { reporter, confirmed, untilConfirmed } = reporterTo(away.address);
  for (let pid = 1; pid <= 100; pid++) reporter.report(storage(1), { pid });
  await away.listen(away.address);
  await untilConfirmed(100);
  expect(confirmed).toEqual(Array.from({ length: 64 }, (_, index) => 37 + index));
  reporter.close();
  reporter.report(storage(1), { pid: 101 });
  await away.close();
  expect(away.heard).toHaveLength(64);
});
