import { connect as connectSocket, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../clock.ts';
import { encodeFrame } from '../frame.ts';
import { outgoingBytesMax } from '../limits.ts';
import { createLogger } from '../log.ts';
import * as m from '../messages.ts';
import { connectInProcess, RpcClient } from './client.ts';
import { rpcSuite, testClock } from './rpc.suite.ts';
import { handle, handleRaw, parseAddress, RpcServer } from './server.ts';
import { peekRequestId, rpcs } from './table.ts';

describe('over TCP', () => {
  rpcSuite(async (server, options) =>
    RpcClient.connect(await server.listen('127.0.0.1:0'), { clock: testClock, ...options }),
  );
});

describe('in-process', () => {
  rpcSuite(async (server, options) => connectInProcess(server, { clock: testClock, ...options }));
});

const servers: RpcServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function listen(
  handlers = [handle(rpcs.echo, () => ({}))],
): Promise<{ server: RpcServer; address: string }> {
  const server = new RpcServer({ handlers, clock: testClock });
  servers.push(server);
  return { server, address: await server.listen('127.0.0.1:0') };
}

function rawSocket(address: string): Promise<Socket> {
  const socket = connectSocket(parseAddress(address));
  return new Promise((resolve) => socket.once('connect', () => resolve(socket)));
}

const ended = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('error', () => {}); // a reset is an end too
    socket.on('close', () => resolve());
    socket.resume();
  });

test('garbage closes that connection only', async () => {
  const { address } = await listen();
  const good = await RpcClient.connect(address, { clock: testClock });
  const garbage = [
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.alloc(64, 0xca),
    encodeFrame(1, 1, Buffer.alloc(0)), // a reply to a server
  ];
  for (const bytes of garbage) {
    const socket = await rawSocket(address);
    const end = ended(socket);
    socket.write(bytes);
    await end;
    await good.call(rpcs.echo, {});
  }
  await good.close();
});

test('a message that cannot be decoded is refused under its own id', async () => {
  const { address } = await listen([handle(rpcs.stat, () => ({ inode: undefined }))]);
  const socket = await rawSocket(address);
  const good = m.StatRequest.encode(m.StatRequest.fromPartial({ header: { requestId: 300n } })).finish();
  const answers: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => answers.push(chunk));
  socket.write(encodeFrame(m.MessageKind.KIND_STAT, 0, Buffer.concat([good, Buffer.from([0x0a, 0xff])])));
  await expect.poll(() => answers.length).toBeGreaterThan(0);
  const reply = m.AnyReply.decode(Buffer.concat(answers).subarray(16));
  expect(reply.header).toMatchObject({ requestId: 300n, code: 91 });
  socket.destroy();
});

test('an answer of the wrong kind closes the connection and fails its calls', async () => {
  const { address } = await listen([
    handleRaw(m.MessageKind.KIND_STAT, (message, connection) =>
      connection.reply(
        m.MessageKind.KIND_ECHO,
        m.AnyReply.encode(m.AnyReply.fromPartial({ header: { requestId: peekRequestId(message) } })).finish(),
      ),
    ),
  ]);
  const client = await RpcClient.connect(address, { clock: testClock });
  await expect(client.call(rpcs.stat, {})).rejects.toMatchObject({ code: 'BAD_FRAME' });
  expect(client.isOpen).toBe(false);
});

test('nobody listens, or the port is taken: an FsError that says so', async () => {
  const { address, server } = await listen();
  const second = new RpcServer({ handlers: [], clock: testClock });
  await expect(second.listen(address)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  await server.close();
  servers.length = 0;
  await expect(RpcClient.connect(address, { clock: testClock })).rejects.toMatchObject({
    code: 'UNREACHABLE',
  });
});

test('a connect that takes too long is given up', async () => {
  const { address } = await listen();
  const clock = new ManualClock();
  const connecting = RpcClient.connect(address, { clock, connectTimeoutMs: 30 });
  clock.advance(30); // before the event loop could tell of the connection
  await expect(connecting).rejects.toMatchObject({ code: 'UNREACHABLE', retryable: true });
});

test('a reader that is too slow is left waiting, then cut off', async () => {
  // A stream that takes nothing: every write stays outstanding.
  const stuck = new Duplex({ read() {}, write() {} });
  const server = new RpcServer({ handlers: [], clock: testClock });
  server.accept(stuck, 'stuck');
  const connection = [...server.connections][0]!;
  const message = Buffer.alloc(4 << 20);
  let sent = 0;
  while (connection.isOpen && sent <= outgoingBytesMax * 2) {
    connection.pushBytes(m.MessageKind.KIND_ROUTING_PUSH, message);
    sent += message.length;
    if (sent === 12 << 20) expect(stuck.isPaused()).toBe(true);
  }
  expect(connection.isOpen).toBe(false);
  expect(sent).toBeGreaterThan(outgoingBytesMax / 2);
  expect(await connection.closed).toMatchObject({ code: 'OVERLOADED' });
});

test('connections beyond the limit are closed at once, which is logged once; the others are served', async () => {
  const events: string[] = [];
  const log = createLogger({ process: 'test', clock: testClock, write: (line) => void events.push(line) });
  const handlers = [handle(rpcs.echo, () => ({}))];
  const server = new RpcServer({ handlers, clock: testClock, log, connectionsMax: 2 });
  servers.push(server);
  const address = await server.listen('127.0.0.1:0');
  const served = [await rawSocket(address), await rawSocket(address)];
  await expect.poll(() => server.connections.size).toBe(2);
  for (let refused = 0; refused < 3; refused++) await ended(await rawSocket(address));
  expect(server.connections.size).toBe(2);
  const said = (): string[] => events.filter((line) => line.includes('connection.limit'));
  expect(said()).toHaveLength(1);
  // One goes: there is room for another.
  served[0]!.destroy();
  await expect.poll(() => server.connections.size).toBe(1);
  const client = await RpcClient.connect(address, { clock: testClock });
  await client.call(rpcs.echo, {});
  await ended(await rawSocket(address));
  expect(said()).toHaveLength(1);
  await client.call(rpcs.echo, {});
  await client.close();
  served[1]!.destroy();
});

test('the request id is found in the bytes of any message', () => {
  void fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.string({ maxLength: 300 }),
      (requestId, detail) => {
        const reply = m.AnyReply.encode(m.AnyReply.fromPartial({ header: { requestId, detail } })).finish();
        expect(peekRequestId(reply)).toBe(requestId);
      },
    ),
  );
  for (const edge of [0n, 1n, 127n, 128n, (1n << 49n) - 1n, 1n << 49n, 1n << 53n, (1n << 64n) - 1n]) {
    const request = m.AnyRequest.encode(m.AnyRequest.fromPartial({ header: { requestId: edge } })).finish();
    expect(peekRequestId(request)).toBe(edge);
  }
  expect(peekRequestId(Buffer.alloc(0))).toBe(0n);
  expect(peekRequestId(Buffer.from([0x0a]))).toBe(0n);
});

test('addresses', () => {
  expect(parseAddress('127.0.0.1:7400')).toEqual({ host: '127.0.0.1', port: 7400 });
  expect(parseAddress('[::1]:1')).toEqual({ host: '::1', port: 1 });
  for (const wrong of ['', 'x', ':1', 'a:', 'a:70000', 'a b:1', 'a:1:2'])
    expect(() => parseAddress(wrong)).toThrow();
});
