// One request on its way through the owner.
import { FsError } from '@catena/core';
import type { Header } from '../operations/requests.ts';
import type { Served } from '../operations/served.ts';

/** Exactly one of the two is called, once, at any time. */
export interface Answer {
  done(body: Uint8Array): void;
  failed(error: FsError): void;
}

/**
 * Copies of one request that may wait for the same answer: a client repeats itself on a new connection, not
 * endlessly.
 */
const copiesMax = 8;

export class Call {
  readonly operation: Served;
  readonly request: unknown;
  readonly header: Header;
  /** Answered only when its effects are on the medium (fsync). */
  readonly durable: boolean;
  readonly #answers: Answer[];

  constructor(operation: Served, request: unknown, header: Header, durable: boolean, answer: Answer) {
    this.operation = operation;
    this.request = request;
    this.header = header;
    this.durable = durable;
    this.#answers = [answer];
  }

  /** A copy of this request gets the same answer. */
  join(answer: Answer): void {
    if (this.#answers.length >= copiesMax)
      answer.failed(new FsError('OVERLOADED', 'the request is being executed'));
    else this.#answers.push(answer);
  }

  done(body: Uint8Array): void {
    for (const answer of this.#answers) answer.done(body);
  }
  failed(error: FsError): void {
    for (const answer of this.#answers) answer.failed(error);
  }
}
