// What driver and workers say to each other: JSON bodies in frames of kind JOB. A worker dials the driver,
// proves that it knows the job's token without sending it, then gets tasks pushed and reports each one. Every
// body is checked before it is used.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { codeFromNumber, message, type OneWay, type Rpc } from '@catena/core';
import { encodings, type StoredColumn } from '../exchange/encoding.ts';
import type { PartitionRule, Step } from '../exchange/partition-sql.ts';
import type { Relation } from '../plan/relation.ts';
import type { TaskResult, Work } from '../plan/task.ts';
import type { Failure } from '../schedule/scheduler.ts';
import {
  type Check,
  count,
  flag,
  list,
  maybe,
  object,
  oneOf,
  parseJson,
  seconds,
  text,
  variants,
} from './shape.ts';

export const protocolVersion = 1;
/** A worker's sign of life; three missed ones are its death for the driver. */
export const heartbeatMs = 2_000;
export const heartbeatsMissedMax = 3;
/** Longest answer to a report: the driver is one process and its work per report is small. */
const reportDeadlineMs = 10_000;

export const jobRpc: Rpc<message.JobRequest, message.JobReply> = {
  kind: message.MessageKind.KIND_JOB,
  request: message.JobRequest,
  reply: message.JobReply,
  idempotent: false,
  priority: message.Priority.LIVENESS,
  deadlineMs: reportDeadlineMs,
};
export const jobPush: OneWay<message.JobRequest> = {
  kind: message.MessageKind.KIND_JOB,
  message: message.JobRequest,
};

/** Worker to driver. */
export type Report =
  | {
      readonly kind: 'hello';
      readonly protocol: number;
      readonly slot: string;
      readonly node: string;
      readonly pid: number;
      readonly nodeVersion: string;
    }
  | { readonly kind: 'proof'; readonly proof: string }
  | { readonly kind: 'heartbeat' }
  | { readonly kind: 'done'; readonly task: string; readonly attempt: number; readonly result: TaskResult }
  | { readonly kind: 'failed'; readonly task: string; readonly attempt: number; readonly failure: Failure };

/** Driver to worker. */
export type Order =
  | {
      readonly kind: 'run';
      readonly epoch: number;
      readonly task: string;
      readonly attempt: number;
      /** Where the attempt writes; its name is no other attempt's. */
      readonly file: string;
      readonly threads: number;
      readonly memoryBytes: number;
      readonly expectedRows: number | undefined;
      readonly work: Work;
    }
  | { readonly kind: 'stop'; readonly task: string; readonly attempt: number };
export type RunOrder = Extract<Order, { kind: 'run' }>;

const column: Check<StoredColumn> = object({
  name: text,
  type: text,
  encoding: oneOf(encodings),
  members: list(text),
});
const fileSlice = object({ path: text, begin: count, end: count, whole: flag });
const storedSlice = object({
  path: text,
  bytes: count,
  begin: count,
  end: count,
  whole: flag,
  task: text,
});

const relation: Check<Relation> = (value, at) => relationKinds(value, at);
const relationKinds = variants<Relation>({
  files: object({ slices: list(fileSlice), columns: list(column) }),
  filter: object({ input: relation, condition: text, alias: text }),
  sql: object({ query: text, inputs: list(relation) }),
  query: object({ query: text, names: list(text), inputs: list(relation) }),
  union: object({ inputs: list(relation) }),
  stored: object({ slices: list(storedSlice), columns: list(column), partition: maybe(count) }),
});
const rule = variants<PartitionRule>({
  hash: object({ keys: list(object({ column: text, type: text })) }),
  column: object({ expression: text }),
});
const stepShape = variants<Step>({
  whole: object({}),
  groups: object({ size: count }),
  within: object({ size: count }),
});
const work = variants<Work>({
  exchange: object({
    relation,
    columns: list(text),
    rule,
    partitions: count,
    step: stepShape,
    parts: count,
    rowGroupRows: count,
  }),
  store: object({ relation, limit: maybe(count), target: oneOf(['scratch', 'result']) }),
  count: object({ relation }),
});
const result: Check<TaskResult> = object({
  rows: count,
  bytes: count,
  seconds,
  file: text,
  columns: list(column),
  partRows: list(count),
});
/** Codes are numbers below 256 in the one table. */
const errorCodes = Array.from({ length: 256 }, (_, number) => codeFromNumber(number));
const failure: Check<Failure> = object({
  code: oneOf(errorCodes),
  detail: text,
  retryable: flag,
  lostInputs: list(text),
});

const report = variants<Report>({
  hello: object({ protocol: count, slot: text, node: text, pid: count, nodeVersion: text }),
  proof: object({ proof: text }),
  heartbeat: object({}),
  done: object({ task: text, attempt: count, result }),
  failed: object({ task: text, attempt: count, failure }),
});
const order = variants<Order>({
  run: object({
    epoch: count,
    task: text,
    attempt: count,
    file: text,
    threads: count,
    memoryBytes: count,
    expectedRows: maybe(count),
    work,
  }),
  stop: object({ task: text, attempt: count }),
});

export function parseReport(body: string): Report {
  return report(parseJson(body), 'report');
}

export function parseOrder(body: string): Order {
  return order(parseJson(body), 'order');
}

export function proofOf(token: string, nonce: string, slot: string): string {
  return createHmac('sha256', token).update(`${nonce}\n${slot}`).digest('hex');
}

export function isProof(proof: string, token: string, nonce: string, slot: string): boolean {
  const expected = Buffer.from(proofOf(token, nonce, slot));
  const given = Buffer.from(proof);
  return given.length === expected.length && timingSafeEqual(given, expected);
}
