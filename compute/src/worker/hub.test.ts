// The driver's port as a stranger sees it.
import { connect as connectSocket } from 'node:net';
import { bootMsFromProc, message, RpcClient, realClock, seededRandom, silentLogger } from '@catena/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WorkerHub, type WorkerInfo } from './hub.ts';
import { jobRpc, parseOrder, parseReport, proofOf, protocolVersion } from './protocol.ts';

const clock = realClock(bootMsFromProc);
const token = 'a token of this job';
let hub: WorkerHub;
let address: string;
let workers: WorkerInfo[];
let reports: string[];

beforeEach(async () => {
  workers = [];
  reports = [];
  hub = new WorkerHub({
    clock,
    random: seededRandom(1),
    log: silentLogger,
    token,
    events: {
      up: (worker) => workers.push(worker),
      lost: (worker) => reports.push(`lost ${worker.slot}`),
      done: (worker, task) => reports.push(`done ${worker.slot} ${task}`),
      failed: (worker, task) => reports.push(`failed ${worker.slot} ${task}`),
    },
  });
  address = await hub.listen('127.0.0.1:0');
});
afterEach(() => hub.close());

const dial = (): Promise<RpcClient> => RpcClient.connect(address, { clock });
const say = async (client: RpcClient, report: object): Promise<string> =>
  (await client.call(jobRpc, { body: JSON.stringify(report) })).body;
const hello = { kind: 'hello', protocol: protocolVersion, slot: 's', node: 'n', pid: 1, nodeVersion: 'v20' };
const done = {
  kind: 'done',
  task: 't',
  attempt: 1,
  result: { rows: 0, bytes: 0, seconds: 0, file: '', columns: [], partRows: [] },
};

describe('the driver', () => {
  test('takes a worker that proves the token, and reports its end', async () => {
    const client = await dial();
    const nonce = await say(client, hello);
    await say(client, { kind: 'proof', proof: proofOf(token, nonce, 's') });
    expect(workers).toMatchObject([{ slot: 's', node: 'n', pid: 1 }]);
    await say(client, done);
    expect(reports).toEqual(['done s t']);
    await client.close();
    await expect.poll(() => reports).toEqual(['done s t', 'lost s']);
  });

  test('takes nothing without a proof of this token, for this slot, of this connection', async () => {
    const client = await dial();
    await expect(say(client, done)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
    const nonce = await say(client, hello);
    const right = proofOf(token, nonce, 's');
    await expect(say(client, { kind: 'proof', proof: proofOf('another', nonce, 's') })).rejects.toMatchObject(
      { code: 'PERMISSION_DENIED' },
    );
    await expect(say(client, { kind: 'proof', proof: proofOf(token, nonce, 'other') })).rejects.toMatchObject(
      { code: 'PERMISSION_DENIED' },
    );
    await expect(say(client, { kind: 'proof', proof: '' })).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
    });
    const second = await dial();
    await say(second, hello);
    await expect(say(second, { kind: 'proof', proof: right })).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
    });
    expect([workers, reports]).toEqual([[], []]);
    await client.close();
    await second.close();
  });

  test('refuses another protocol and bodies of another shape, and lives through garbage', async () => {
    const client = await dial();
    await expect(say(client, { ...hello, protocol: 99 })).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
    for (const body of [
      '',
      '{',
      'null',
      '[]',
      '{"kind":"nothing"}',
      '{"kind":"hello","protocol":1}',
      '{"kind":"toString"}',
    ]) {
      await expect(client.call(jobRpc, { body })).rejects.toMatchObject({ code: 'BAD_MESSAGE' });
    }
    const port = Number(address.split(':')[1]);
    const socket = connectSocket({ host: '127.0.0.1', port });
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(100));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(await say(client, hello)).toMatch(/^[0-9a-f]{32}$/);
    await client.close();
  });
});

describe('bodies', () => {
  const run = {
    kind: 'run',
    epoch: 1,
    task: 't',
    attempt: 1,
    file: '/f',
    threads: 1,
    memoryBytes: 1,
    work: {
      kind: 'count',
      relation: { kind: 'union', inputs: [{ kind: 'stored', slices: [], columns: [] }] },
    },
  };
  test('a good order is understood, down to what is optional', () => {
    expect(parseOrder(JSON.stringify(run))).toMatchObject(run);
  });
  test.each([
    ['a negative count', { ...run, epoch: -1 }],
    ['a fraction', { ...run, attempt: 1.5 }],
    ['a number beyond JavaScript', { ...run, memoryBytes: 2 ** 53 }],
    ['an unknown work', { ...run, work: { kind: 'shell', command: 'id' } }],
    [
      'a relation that was not resolved',
      { ...run, work: { kind: 'count', relation: { kind: 'share', tasks: [] } } },
    ],
    [
      'an unknown encoding',
      {
        ...run,
        work: {
          kind: 'count',
          relation: {
            kind: 'stored',
            slices: [],
            columns: [{ name: 'a', type: 'b', encoding: 'c', members: [] }],
          },
        },
      },
    ],
  ])('%s is refused with its place', (_name, body) => {
    expect(() => parseOrder(JSON.stringify(body))).toThrow(
      expect.objectContaining({ code: 'BAD_MESSAGE', message: expect.stringMatching(/order/) }),
    );
  });
  test('an error code that this release does not know is refused', () => {
    const body = {
      kind: 'failed',
      task: 't',
      attempt: 1,
      failure: { code: 'NO_SUCH', detail: '', retryable: true, lostInputs: [] },
    };
    expect(() => parseReport(JSON.stringify(body))).toThrow(/report\.failure\.code/);
  });
  test('the kind of frame is the one for jobs', () => expect(jobRpc.kind).toBe(message.MessageKind.KIND_JOB));
});
