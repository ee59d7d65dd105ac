// The service's requests as handlers of the rpc server. Hot path: a request is decoded, executed and put back
// as bytes here; its reply is the kept body behind a fresh header.
import {
  type FastEncoder,
  FsError,
  type Handler,
  handle,
  handleRaw,
  message,
  rpcs,
  type ServerConnection,
} from '@catena/core';
import { readHeader } from '../operations/requests.ts';
import { operations, type Served } from '../operations/served.ts';
import type { Partition } from '../owner/partition.ts';
import { Writer } from '../state/protobuf.ts';

interface Outgoing {
  readonly requestId: bigint;
  readonly body: Uint8Array;
}

const headerBytesMax = 13;
const headerWriter = new Writer(headerBytesMax);

const replyEncoder: FastEncoder<Outgoing> = {
  bytesMax: ({ body }) => headerBytesMax + body.length,
  write({ requestId, body }, target, offset) {
    // Field 1 is the header; of its fields only the request id is not zero.
    headerWriter.position = 0;
    headerWriter.uint64Field(8, requestId);
    const headerBytes = headerWriter.position;
    target[offset] = 10;
    target[offset + 1] = headerBytes;
    headerWriter.buffer.copy(target, offset + 2, 0, headerBytes);
    target.set(body, offset + 2 + headerBytes);
    return offset + 2 + headerBytes + body.length;
  },
};

class ConnectionAnswer {
  readonly #connection: ServerConnection;
  readonly #kind: message.MessageKind;
  readonly #requestId: bigint;
  readonly #oneWay: boolean;

  constructor(connection: ServerConnection, kind: message.MessageKind, requestId: bigint, oneWay: boolean) {
    this.#connection = connection;
    this.#kind = kind;
    this.#requestId = requestId;
    this.#oneWay = oneWay;
  }

  done(body: Uint8Array): void {
    if (this.#oneWay) return;
    this.#connection.replyFast(this.#kind, replyEncoder, { requestId: this.#requestId, body });
  }

  failed(error: FsError): void {
    if (this.#oneWay) return;
    this.#connection.replyError(this.#kind, this.#requestId, error);
  }
}

export function handlersOf(partition: Partition): Handler[] {
  return [
    ...operations.map((operation) => operationHandler(partition, operation)),
    helloHandler(partition),
    syncHandler(partition),
    handle(rpcs.echo, () => ({})),
  ];
}

function operationHandler(partition: Partition, operation: Served): Handler {
  const { owner } = partition;
  return handleRaw(operation.kind, (bytes, connection, oneWay) => {
    const { header, bodyStart } = readHeader(bytes);
    const request = decoded(operation, bytes, bodyStart);
    const answer = new ConnectionAnswer(connection, operation.kind, header.requestId, oneWay);
    owner.serve(operation, header, request, answer);
  });
}

function decoded(operation: Served, bytes: Buffer, start: number): unknown {
  try {
    return operation.decode(bytes, start);
  } catch (error) {
    throw new FsError('BAD_MESSAGE', error instanceof Error ? error.message : String(error));
  }
}

function helloHandler(partition: Partition): Handler {
  return handle(rpcs.hello, (request) => new Promise((resolve) => partition.greet(request, resolve)));
}

function syncHandler(partition: Partition): Handler {
  const kind = message.MessageKind.KIND_SYNC;
  return handleRaw(kind, (bytes, connection, oneWay) => {
    const { header } = readHeader(bytes);
    partition.owner.sync(header, new ConnectionAnswer(connection, kind, header.requestId, oneWay));
  });
}
