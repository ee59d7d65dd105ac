// Hello: makes a client's session, or finds it again after a lost connection or a restart of this service
// (P17).
import { type Clock, FsError, type message } from '@catena/core';
import { clientsMax, unansweredMax } from '../limits.ts';
import { rootInode } from '../operations/inodes.ts';
import { answerKey, clientKey, clientText } from '../state/keys.ts';
import type { State } from '../state/state.ts';
import { answers, clients, recordVersion } from '../state/tables.ts';
import { ClientSession } from './clients.ts';
import type { Owner } from './owner.ts';

const clientBytes = 16;

export type Greeting = Omit<message.HelloReply, 'header'>;

export interface GreetingOptions {
  readonly owner: Owner;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly cluster: string;
  /** What the cluster writes. */
  readonly featureLevel: number;
  /** Whether a new session may be made for this id. */
  admits(id: string): boolean;
}

/** Calls back when the session is committed. */
export function greet(
  options: GreetingOptions,
  request: message.HelloRequest,
  done: (greeting: Greeting) => void,
): void {
  const { owner, clock, leaseMs, cluster, featureLevel } = options;
  const bytes = request.header?.client ?? Buffer.alloc(0);
  if (bytes.length !== clientBytes) {
    throw new FsError('INVALID_ARGUMENT', `a client id has ${clientBytes} bytes, not ${bytes.length}`);
  }
  if (request.featureLevel < featureLevel) {
    throw new FsError(
      'NEWER_DATA',
      `the names are kept at feature level ${featureLevel}, the client knows only ${request.featureLevel}`,
    );
  }
  const id = clientText(bytes);
  let client = owner.clients.get(id);
  if (client?.fenced === true) throw new FsError('FENCED', 'the sessions of this client are being closed');
  let batch = 0;
  if (client === undefined) {
    // Fenced and forgotten, or so new that the next routing will name it: the manager tells the client which.
    if (!options.admits(id))
      throw new FsError('SESSION_UNKNOWN', 'the manager does not know this client yet');
    if (owner.clients.size >= clientsMax) throw new FsError('OVERLOADED', `${clientsMax} clients are known`);
    client = new ClientSession(id, request.host, clock.nowMs(), 0n);
    owner.clients.set(id, client);
    const record = { recordVersion, client: Buffer.from(bytes), host: request.host, answers: [] };
    batch = owner.internal((transaction) => transaction.put(clients, clientKey(id), record));
  }
  client.heardMs = clock.nowMs();
  const greeting = { nextSequence: client.highest + 1n, leaseMs, root: rootInode, cluster };
  owner.journal.whenCommitted(batch, () => done(greeting));
}

/** The highest number that a client has a stored answer for. */
export function highestAnswered(state: State, client: string): bigint {
  let highest = 0n;
  const from = answerKey(client, 0);
  const to = `${answerKey(client, unansweredMax - 1)}\0`;
  for (const [, bytes] of state.store.range(from, to)) {
    const { sequence } = answers.decode(bytes);
    if (sequence > highest) highest = sequence;
  }
  return highest;
}
