// Errors of names say which name: the services answer about inodes and single names, the caller knows paths.
// Done once, where a path enters the SDK; code and context stay as they were.
import { FsError } from '@catena/core';

/** Does `work`; what it refuses is said about `path`. */
export async function about<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FsError) || says(error.detail, path)) throw error;
    const detail = error.detail === '' ? path : `${path}: ${error.detail}`;
    const { context, retryAfterMs } = error;
    throw new FsError(error.code, detail, { context, retryAfterMs, cause: error });
  }
}

/** Already said by a step inside, or by a call that this one is made of. */
function says(detail: string, path: string): boolean {
  return detail === path || detail.startsWith(`${path} `) || detail.startsWith(`${path}: `);
}
