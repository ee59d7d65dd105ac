// The window of a process for people and Prometheus: /metrics, /healthz, JSON, static files. Read only;
// nothing of the file system passes here. The only file that imports fastify, on first use.
import type { FastifyReply } from 'fastify';
import { FsError, fromSystemError } from './errors.ts';
import { plain } from './log.ts';
import type { Metrics } from './metrics.ts';
import { parseAddress } from './rpc/server.ts';

export interface Health {
  readonly ok: boolean;
  readonly [detail: string]: unknown;
}

export interface StaticFile {
  readonly type: string;
  readonly body: string;
}

export interface HttpOptions {
  /** `host:port`; the default configuration of every process binds 127.0.0.1. */
  address: string;
  metrics: Metrics;
  health: () => Health;
  /** Path → what it shows now. */
  json?: Readonly<Record<string, () => unknown>>;
  files?: Readonly<Record<string, StaticFile>>;
}

export interface HttpServer {
  /** `host:port` in use. */
  readonly address: string;
  close(): Promise<void>;
}

export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { fastify } = await import('fastify');
  const server = fastify({ logger: false, forceCloseConnections: true, bodyLimit: 64 << 10 });
  server.get('/metrics', (_request, reply) =>
    reply.type('text/plain; version=0.0.4').send(options.metrics.render()),
  );
  server.get('/healthz', (_request, reply) => {
    const health = options.health();
    return json(reply.code(health.ok ? 200 : 503), health);
  });
  for (const [path, show] of Object.entries(options.json ?? {})) {
    server.get(path, (_request, reply) => json(reply, show()));
  }
  for (const [path, file] of Object.entries(options.files ?? {})) {
    server.get(path, (_request, reply) => reply.type(file.type).send(file.body));
  }
  const { host, port } = parseAddress(options.address);
  try {
    await server.listen({ host, port });
  } catch (error) {
    throw fromSystemError(error, `listening on ${options.address} for HTTP`);
  }
  const bound = server.server.address();
  if (bound === null || typeof bound === 'string')
    throw new FsError('INTERNAL', 'the HTTP server has no address');
  return { address: `${host}:${bound.port}`, close: () => server.close() };
}

function json(reply: FastifyReply, body: unknown): FastifyReply {
  return reply
    .type('application/json')
    .header('cache-control', 'no-store')
    .send(`${JSON.stringify(body, plain)}\n`);
}
