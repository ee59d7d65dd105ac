// A log whose appends and flushes wait for the test, in front of the log in memory: so that what happens in
// between can be seen.
import type { AppendLog, LogRecord } from '@catena/core';

export class GatedLog implements AppendLog {
  readonly #inner: AppendLog;
  #appendsHeld: (() => void)[] | undefined;
  #flushesHeld: (() => void)[] | undefined;
  flushes = 0;

  constructor(inner: AppendLog) {
    this.#inner = inner;
  }

  get epoch(): bigint {
    return this.#inner.epoch;
  }
  get appended(): bigint {
    return this.#inner.appended;
  }
  get flushed(): bigint {
    return this.#inner.flushed;
  }

  holdAppends(): void {
    this.#appendsHeld = [];
  }
  releaseAppends(): void {
    const held = this.#appendsHeld ?? [];
    this.#appendsHeld = undefined;
    for (const act of held) act();
  }
  holdFlushes(): void {
    this.#flushesHeld = [];
  }
  releaseFlushes(): void {
    const held = this.#flushesHeld ?? [];
    this.#flushesHeld = undefined;
    for (const act of held) act();
  }
  get appendsWaiting(): number {
    return this.#appendsHeld?.length ?? 0;
  }

  async append(bodies: readonly Uint8Array[]): Promise<bigint> {
    const held = this.#appendsHeld;
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    return this.#inner.append(bodies);
  }
  async flush(): Promise<bigint> {
    this.flushes++;
    const held = this.#flushesHeld;
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    return this.#inner.flush();
  }
  read(from: bigint): AsyncIterable<LogRecord> {
    return this.#inner.read(from);
  }
  trim(below: bigint): Promise<void> {
    return this.#inner.trim(below);
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
}
