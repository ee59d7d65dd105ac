// What every way to carry rpcs must do. Run over TCP and in-process by rpc.test.ts.
import { afterEach, expect, test } from 'vitest';
import { bootMsFromProc, realClock } from '../clock.ts';
import { FsError } from '../errors.ts';
import { callsInFlightMax } from '../limits.ts';
import * as m from '../messages.ts';
import type { RpcClient, RpcClientOptions } from './client.ts';
import type { FastEncoder } from './connection.ts';
import { type Handler, handle, handleRaw, RpcServer, type ServerConnection } from './server.ts';
import { oneWays, peekRequestId, rpcs } from './table.ts';

export const testClock = realClock(bootMsFromProc);
export type Connect = (server: RpcServer, options?: Partial<RpcClientOptions>) => Promise<RpcClient>;

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

const inode = (id: bigint): { inode: m.Inode } => ({ inode: m.Inode.fromPartial({ id }) });

export function rpcSuite(connect: Connect): void {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const part of open.splice(0)) await part.close();
  });

  async function start(
    handlers: readonly Handler[],
    options: { client?: Partial<RpcClientOptions>; onClosed?: (connection: ServerConnection) => void } = {},
  ): Promise<{ server: RpcServer; client: RpcClient }> {
    const server = new RpcServer({
      handlers,
      clock: testClock,
      ...(options.onClosed === undefined ? {} : { onClosed: options.onClosed }),
    });
    const client = await connect(server, options.client);
    open.push(client, server);
    return { server, client };
  }

  test('a request arrives as it was sent, its header filled in, and so does the reply', async () => {
    const seen: m.StatRequest[] = [];
    const { client } = await start([
      handle(rpcs.stat, (request) => {
        seen.push(request);
        return { inode: m.Inode.fromPartial({ id: request.inode, symlink: Buffer.from('ä'), mtimeNs: -1n }) };
      }),
    ]);
    const user = { uid: 7, gid: 8, groups: [9], pid: 10 };
    const huge = (1n << 64n) - 1n;
    const reply = await client.call(
      rpcs.stat,
      { inode: huge },
      { header: { user, sequence: huge }, deadlineMs: 900.5 },
    );
    expect(reply.inode).toEqual(m.Inode.fromPartial({ id: huge, symlink: Buffer.from('ä'), mtimeNs: -1n }));
    expect(seen[0]?.inode).toBe(huge);
    expect(seen[0]?.header).toMatchObject({
      user,
      sequence: huge,
      deadlineMs: 901,
      priority: m.Priority.METADATA,
    });
  });

  test('answers come in any order and find their calls', async () => {
    const waiting = new Map<bigint, (value: { inode: m.Inode }) => void>();
    const { client } = await start([
      handle(rpcs.stat, (request) => new Promise((resolve) => waiting.set(request.inode, resolve))),
    ]);
    const ids = Array.from({ length: 300 }, (_, index) => BigInt(index));
    const order: bigint[] = [];
    const calls = ids.map(async (id) => {
      const reply = await client.call(rpcs.stat, { inode: id });
      order.push(id);
      return reply.inode?.id;
    });
    await expect.poll(() => waiting.size).toBe(300);
    for (const id of [...ids].reverse()) waiting.get(id)?.(inode(id));
    expect(await Promise.all(calls)).toEqual(ids);
    expect(order[0]).toBe(299n);
  });

  test('an FsError of an operation arrives with its code and detail, now or later', async () => {
    const { client } = await start([
      handle(rpcs.stat, () => {
        throw new FsError('NOT_FOUND', 'inode 5', { retryAfterMs: 30 });
      }),
      handle(rpcs.create, async () => {
        await Promise.resolve();
        throw new FsError('NO_SPACE', 'target 7');
      }),
    ]);
    const now = await client.call(rpcs.stat, {}).catch((error: unknown) => error);
    expect(now).toBeInstanceOf(FsError);
    expect(now).toMatchObject({ code: 'NOT_FOUND', detail: 'inode 5', errno: 'ENOENT', retryAfterMs: 30 });
    await expect(client.call(rpcs.create, {})).rejects.toMatchObject({
      code: 'NO_SPACE',
      detail: 'target 7',
    });
  });

  test('a kind without a handler is refused and the connection goes on', async () => {
    const { client } = await start([handle(rpcs.echo, () => ({}))]);
    await expect(client.call(rpcs.stat, {})).rejects.toMatchObject({ code: 'UNKNOWN_KIND' });
    expect((await client.call(rpcs.echo, {})).header?.code).toBe(0);
  });

  test('a deadline fails the call and reaches the operation; a late answer does no harm', async () => {
    const late = deferred<{ inode: m.Inode }>();
    const aborted = deferred<unknown>();
    const { client } = await start([
      handle(rpcs.stat, (_request, { signal }) => {
        signal.addEventListener('abort', () => aborted.resolve(signal.reason));
        return late.promise;
      }),
      handle(rpcs.echo, () => ({})),
    ]);
    await expect(client.call(rpcs.stat, {}, { deadlineMs: 20 })).rejects.toMatchObject({ code: 'TIMED_OUT' });
    expect(await aborted.promise).toMatchObject({ code: 'TIMED_OUT' });
    late.resolve(inode(1n));
    await client.call(rpcs.echo, {});
    expect(client.isOpen).toBe(true);
  });

  test('a call can be cancelled before and while it is in flight', async () => {
    const { client } = await start([
      handle(rpcs.stat, () => new Promise(() => {})),
      handle(rpcs.echo, () => ({})),
    ]);
    const controller = new AbortController();
    const call = client.call(rpcs.stat, {}, { signal: controller.signal });
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(client.call(rpcs.echo, {}, { signal: controller.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    await client.call(rpcs.echo, {});
  });

  test('pushes and one-way messages go both ways', async () => {
    const pushed = deferred<m.RoutingPush>();
    const got = deferred<number>();
    const { client, server } = await start(
      [
        handle(rpcs.echo, (_request, { connection }) => {
          connection.push(oneWays.routingPush, { routing: m.Routing.fromPartial({ version: 5n }) });
          return {};
        }),
        handleRaw(m.MessageKind.KIND_ROUTING_PUSH, (message, _connection, oneWay) => {
          if (oneWay) got.resolve(message.length);
        }),
      ],
      {
        client: {
          onPush: (kind, message) => {
            if (kind === m.MessageKind.KIND_ROUTING_PUSH) pushed.resolve(m.RoutingPush.decode(message));
          },
        },
      },
    );
    await client.call(rpcs.echo, {});
    expect((await pushed.promise).routing?.version).toBe(5n);
    client.sendOneWay(oneWays.routingPush, { routing: undefined });
    expect(await got.promise).toBe(0);
    expect([...server.connections].map((connection) => connection.inFlight)).toEqual([0]);
  });

  test('raw handlers see the bytes and answer in place', async () => {
    const encoder: FastEncoder<bigint> = {
      bytesMax: () => 64,
      write(id, target, offset) {
        const bytes = m.InodeReply.encode(
          m.InodeReply.fromPartial({ header: { requestId: id }, inode: { id: id * 2n } }),
        ).finish();
        target.set(bytes, offset);
        return offset + bytes.length;
      },
    };
    const { client } = await start([
      handleRaw(m.MessageKind.KIND_STAT, (message, connection) =>
        connection.replyFast(m.MessageKind.KIND_STAT, encoder, peekRequestId(message)),
      ),
    ]);
    const replies = await Promise.all(Array.from({ length: 500 }, () => client.call(rpcs.stat, {})));
    expect(replies.map((reply) => reply.inode?.id)).toEqual(
      replies.map((reply) => (reply.header?.requestId ?? 0n) * 2n),
    );
    expect(new Set(replies.map((reply) => reply.header?.requestId)).size).toBe(500);
  });

  test('messages up to the limit pass, longer ones are refused on this side', async () => {
    const { client } = await start([
      handle(rpcs.symlink, (request) => ({
        inode: m.Inode.fromPartial({ length: BigInt(request.target.length) }),
      })),
    ]);
    const target = Buffer.alloc((4 << 20) - 200, 'y');
    expect((await client.call(rpcs.symlink, { target })).inode?.length).toBe(BigInt(target.length));
    await expect(client.call(rpcs.symlink, { target: Buffer.alloc(4 << 20) })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect((await client.call(rpcs.symlink, {})).inode?.length).toBe(0n);
  });

  test('calls in flight are bounded at both ends', async () => {
    const release = deferred<{ inode: m.Inode }>();
    let running = 0;
    const server = new RpcServer({
      clock: testClock,
      callsInFlightMax: 3,
      handlers: [
        handle(rpcs.stat, () => {
          running++;
          return release.promise;
        }),
      ],
    });
    const client = await connect(server);
    open.push(client, server);
    const calls = Array.from({ length: 5 }, () => client.call(rpcs.stat, {}));
    const results = Promise.allSettled(calls);
    await expect(calls[4]).rejects.toMatchObject({ code: 'OVERLOADED', retryable: true });
    expect(running).toBe(3);
    release.resolve(inode(1n));
    expect((await results).map((result) => result.status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    expect((await client.call(rpcs.stat, {})).inode?.id).toBe(1n);
    const silent = await start([handle(rpcs.stat, () => new Promise(() => {}))]);
    const many = Array.from({ length: callsInFlightMax }, () => silent.client.call(rpcs.stat, {}));
    for (const call of many) call.catch(() => {});
    await expect(silent.client.call(rpcs.stat, {})).rejects.toMatchObject({ code: 'OVERLOADED' });
  });

  test('the end of a connection fails its calls at once and is seen by the server', async () => {
    const ended = deferred<ServerConnection>();
    const signalled = deferred<unknown>();
    const { client, server } = await start(
      [
        handle(rpcs.stat, (_request, { signal }) => {
          signal.addEventListener('abort', () => signalled.resolve(signal.reason));
          return new Promise(() => {});
        }),
        handle(rpcs.echo, () => ({})),
      ],
      { onClosed: (connection) => ended.resolve(connection) },
    );
    await client.call(rpcs.echo, {});
    const call = client.call(rpcs.stat, {}, { deadlineMs: 600_000 });
    await client.call(rpcs.echo, {});
    const failed = expect(call).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await client.close();
    await failed;
    await ended.promise;
    expect(await signalled.promise).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(server.connections.size).toBe(0);
    await expect(client.call(rpcs.echo, {})).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('a server that closes sends the answers it has and ends the connection', async () => {
    const release = deferred<{ inode: m.Inode }>();
    const { client, server } = await start([
      handle(rpcs.stat, () => release.promise),
      handle(rpcs.open, () => new Promise(() => {})),
      handle(rpcs.echo, () => ({})),
    ]);
    const answered = client.call(rpcs.stat, {});
    const never = expect(client.call(rpcs.open, {})).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await client.call(rpcs.echo, {});
    release.resolve(inode(4n));
    await release.promise;
    await Promise.resolve(); // the answer is given, and still gathered
    const closed = server.close();
    expect((await answered).inode?.id).toBe(4n);
    await never;
    await closed;
    expect(await client.closed).toBeUndefined();
  });
}
