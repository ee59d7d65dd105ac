// The one class for operating errors, made from the one table (native/proto/errors.json). Code matches on
// `code`, never on text. Our own bugs are assertions and crash; they are never values of this class.
import { errorTable } from './generated/errors.ts';
import type { ReplyHeader } from './messages.ts';

export type ErrorCode = keyof typeof errorTable;
export type ErrorContext = Readonly<Record<string, string | number | bigint | boolean>>;

/**
 * An operation failed for a reason outside of our code: what (`code`), where (`message`), and what to do
 * about it.
 */
export class FsError extends Error {
  readonly code: ErrorCode;
  /** As in errno(3), for example ENOENT. */
  readonly errno: string;
  /** Whether the same request may succeed later or elsewhere. */
  readonly retryable: boolean;
  /** What and where, without the table's sentence. */
  readonly detail: string;
  readonly context: ErrorContext;
  /** Said by an overloaded peer; 0 = at the caller's discretion. */
  readonly retryAfterMs: number;

  constructor(
    code: ErrorCode,
    detail = '',
    options: { context?: ErrorContext; cause?: unknown; retryAfterMs?: number } = {},
  ) {
    const row = errorTable[code];
    super(
      detail === '' ? row.text : `${row.text}: ${detail}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'FsError';
    this.code = code;
    this.errno = row.errno;
    this.retryable = row.retryable;
    this.detail = detail;
    this.context = options.context ?? {};
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }
}

const codeByNumber = new Map<number, ErrorCode>(
  Object.entries(errorTable).map(([name, row]) => [row.code, name as ErrorCode]),
);

export function isErrorCode(name: unknown): name is ErrorCode {
  return typeof name === 'string' && Object.hasOwn(errorTable, name);
}

/** A number that this release does not know reads as INTERNAL. */
export function codeFromNumber(number: number): ErrorCode {
  return codeByNumber.get(number) ?? 'INTERNAL';
}

export function numberOfCode(code: ErrorCode): number {
  return errorTable[code].code;
}

/** The header of a reply that carries this error. */
export function replyHeaderOf(error: FsError, requestId: bigint): ReplyHeader {
  return {
    requestId,
    code: numberOfCode(error.code),
    detail: error.detail,
    retryAfterMs: error.retryAfterMs,
  };
}

/** The error that a reply carries; undefined if it says done. */
export function errorOfReplyHeader(header: ReplyHeader | undefined): FsError | undefined {
  if (header === undefined) return new FsError('BAD_MESSAGE', 'a reply without a header');
  if (header.code === 0) return undefined;
  return new FsError(codeFromNumber(header.code), header.detail, { retryAfterMs: header.retryAfterMs });
}

/** Errors of Node's own calls (file system, sockets) become operating errors here, and only here. */
export function fromSystemError(error: unknown, doing: string): FsError {
  if (error instanceof FsError) return error;
  const system = error as NodeJS.ErrnoException;
  const codes: Record<string, ErrorCode> = {
    ENOENT: 'NOT_FOUND',
    EEXIST: 'EXISTS',
    EACCES: 'PERMISSION_DENIED',
    EPERM: 'NOT_PERMITTED',
    ENOSPC: 'NO_SPACE',
    EDQUOT: 'NO_SPACE',
    EROFS: 'READ_ONLY',
    EADDRINUSE: 'ALREADY_RUNNING',
    ECONNREFUSED: 'UNREACHABLE',
    EHOSTUNREACH: 'UNREACHABLE',
    ENETUNREACH: 'UNREACHABLE',
    ENOTFOUND: 'UNREACHABLE',
    ECONNRESET: 'CONNECTION_LOST',
    EPIPE: 'CONNECTION_LOST',
    ETIMEDOUT: 'TIMED_OUT',
  };
  const code = typeof system?.code === 'string' ? (codes[system.code] ?? 'IO') : undefined;
  if (code === undefined) throw error; // no system error: our own bug
  return new FsError(code, `${doing}: ${system.message}`, { cause: error });
}
