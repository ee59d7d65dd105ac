// One end of a stream of frames: cuts what arrives, gathers what leaves. All frames that one callback of the
// event loop sends leave in one write, when it returns: to wait for the end of the loop's turn would gather
// hardly more, and cost a caller with one request in the air a turn more. Knows nothing of requests; garbage
// closes this connection and no other. Hot path.
import { strict as assert } from 'node:assert';
import type { Duplex } from 'node:stream';
import { FsError, fromSystemError } from '../errors.ts';
import { FrameParser, type FrameSink, frameHeaderBytes, writeFrameHeader } from '../frame.ts';
import { outgoingBytesMax, outgoingBytesPause } from '../limits.ts';

/** Writes `value` at `offset`, returns the offset behind it. */
export type WriteMessage<T> = (value: T, target: Buffer, offset: number) => number;

/** What a codec made by hand offers: no allocation per message. */
export interface FastEncoder<T> {
  /** At least as many bytes as `write` will need. */
  bytesMax(value: T): number;
  write: WriteMessage<T>;
}

const batchBytesMin = 2048;

export class FrameConnection {
  readonly peer: string;
  /** Resolves once, with the reason, or with undefined after an orderly end. */
  readonly closed: Promise<FsError | undefined>;
  readonly #stream: Duplex;
  #resolveClosed!: (reason: FsError | undefined) => void;
  #open = true;
  #reason: FsError | undefined;
  #batch: Buffer = Buffer.alloc(0);
  #batchUsed = 0;
  #batchBytes = batchBytesMin;
  #flushScheduled = false;
  readonly #flushSoon: () => void;

  constructor(stream: Duplex, peer: string, sink: FrameSink) {
    this.#stream = stream;
    this.peer = peer;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#flushSoon = () => {
      this.#flushScheduled = false;
      this.flush();
    };
    const parser = new FrameParser((kind, flags, message, payload) => {
      if (this.#open) sink(kind, flags, message, payload);
    });
    stream.on('data', (chunk: Buffer) => this.#receive(parser, chunk));
    stream.on('drain', () => stream.resume());
    stream.on('error', (error) => {
      this.#reason ??= fromSystemError(error, `connection with ${peer}`);
    });
    stream.on('end', () => this.close());
    stream.on('close', () => {
      this.#open = false;
      this.#resolveClosed(this.#reason);
    });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Bytes that the peer has not taken yet. */
  get outgoingBytes(): number {
    return this.#stream.writableLength + this.#batchUsed;
  }

  /** Ends the connection; frames that were sent still leave, unless there is a reason. */
  close(reason?: FsError): void {
    if (reason !== undefined) {
      this.#open = false;
      this.#reason ??= reason;
      this.#stream.destroy();
    } else if (this.#open) {
      this.flush();
      this.#open = false;
      this.#stream.end();
      this.#stream.resume(); // what still arrives is dropped, so that the end is seen
    }
  }

  /** A closed connection swallows frames: whoever waits for an answer learns it from `closed`. */
  send(kind: number, flags: number, message: Uint8Array): void {
    const start = this.#reserve(message.length);
    if (start < 0) return;
    this.#batch.set(message, start + frameHeaderBytes);
    this.#seal(start, kind, flags, start + frameHeaderBytes + message.length);
  }

  /** As `send`, but the message is written in place. */
  sendFast<T>(kind: number, flags: number, encoder: FastEncoder<T>, value: T): void {
    const bytesMax = encoder.bytesMax(value);
    const start = this.#reserve(bytesMax);
    if (start < 0) return;
    const end = encoder.write(value, this.#batch, start + frameHeaderBytes);
    assert(end <= start + frameHeaderBytes + bytesMax, 'a message is longer than its encoder said');
    this.#seal(start, kind, flags, end);
  }

  /** Hands everything gathered to the stream now. */
  flush(): void {
    if (this.#batchUsed === 0 || !this.#open) return;
    const batch = this.#batch.subarray(0, this.#batchUsed);
    // The stream keeps the bytes until the kernel took them; the next batch is as large as this one was, or
    // half.
    this.#batchBytes = Math.max(batchBytesMin, this.#batchUsed, this.#batchBytes >> 1);
    this.#batch = Buffer.alloc(0);
    this.#batchUsed = 0;
    this.#stream.write(batch);
    if (this.#stream.writableLength > outgoingBytesMax) {
      this.close(new FsError('OVERLOADED', `${this.peer} does not read what it is sent`));
    } else if (this.#stream.writableLength > outgoingBytesPause) {
      this.#stream.pause(); // until 'drain'
    }
  }

  #receive(parser: FrameParser, chunk: Buffer): void {
    if (!this.#open) return;
    try {
      parser.push(chunk);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.close(error);
    }
  }

  #reserve(messageBytes: number): number {
    if (!this.#open) return -1;
    const needed = this.#batchUsed + frameHeaderBytes + messageBytes;
    if (needed > this.#batch.length) {
      if (needed > outgoingBytesPause) this.flush();
      const size = Math.max(
        this.#batchUsed + frameHeaderBytes + messageBytes,
        this.#batch.length * 2,
        this.#batchBytes,
      );
      const larger = Buffer.allocUnsafe(size);
      this.#batch.copy(larger, 0, 0, this.#batchUsed);
      this.#batch = larger;
    }
    return this.#open ? this.#batchUsed : -1;
  }

  #seal(start: number, kind: number, flags: number, end: number): void {
    writeFrameHeader(this.#batch, start, kind, flags, end - start - frameHeaderBytes);
    this.#batchUsed = end;
    if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      process.nextTick(this.#flushSoon);
    }
  }
}
