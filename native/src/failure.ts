// Errors of the addon become errors of the one class: the addon names the code, nothing here reads its text.
import { FsError, isErrorCode } from '@catena/core';

export function fromNative(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  return isErrorCode(code) ? new FsError(code, message, { cause: error }) : error;
}

/** Also for calls that throw before there is a promise. */
export async function settled<Value>(call: () => Promise<Value>): Promise<Value> {
  try {
    return await call();
  } catch (error) {
    throw fromNative(error);
  }
}

export function answered<Value>(call: () => Value): Value {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}
