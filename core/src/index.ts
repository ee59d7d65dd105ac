// The vocabulary of every process: errors, messages, frames, rpc, config, logs, metrics, and the log and
// key-value backends.
export * from './clock.ts';
export * from './config.ts';
export * from './errors.ts';
export * from './frame.ts';
export * from './http.ts';
export * from './kv-backend/etcd.ts';
export * from './kv-backend/key-value-store.ts';
export * from './kv-backend/lmdb.ts';
export * from './kv-backend/memory.ts';
export * from './limits.ts';
export * from './log.ts';
export * from './log-backend/append-log.ts';
export * from './log-backend/local.ts';
export * from './log-backend/memory.ts';
export * as message from './messages.ts';
export * from './metrics.ts';
export * from './process.ts';
export * from './random.ts';
export * from './rpc/client.ts';
export * from './rpc/connection.ts';
export * from './rpc/server.ts';
export * from './rpc/table.ts';
export * from './space-reserve.ts';
