// The errors that operations answer with. They are answers, not accidents: thousands a second are made (every
// new name is looked up before it is created), so they carry no stack trace, which would cost more than the
// operation.
import { type ErrorCode, FsError } from '@catena/core';

export function refusal(code: ErrorCode, detail = ''): FsError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new FsError(code, detail);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
