// How much of this machine a session's workers may use: cores and memory as the control group allows, shared
// out so that all slots fit at once.
import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { FsError } from '@catena/core';

/** The rest is for the page cache, the file system's own processes, and JavaScript. */
const memoryShare = 0.5;
/** DuckDB sorts and joins with less, but spills at once. */
export const slotMemoryBytesMin = 64 << 20;

export interface Resources {
  readonly slots: number;
  readonly threadsPerSlot: number;
  readonly memoryBytesPerSlot: number;
  readonly threads: number;
  readonly memoryBytes: number;
}

export function shareResources(slotsWanted: number | undefined, memoryWanted: number | undefined): Resources {
  const cores = availableParallelism();
  const slots = slotsWanted ?? cores;
  // More slots than this are more processes than any machine of today has use for.
  if (!Number.isInteger(slots) || slots < 1 || slots > 1024) {
    throw new FsError('INVALID_ARGUMENT', `slots: ${slots}; give a whole number from 1 to 1024`);
  }
  const memoryBytes = memoryWanted ?? Math.floor(memoryLimitBytes() * memoryShare);
  const memoryBytesPerSlot = Math.floor(memoryBytes / slots);
  if (!(memoryBytesPerSlot >= slotMemoryBytesMin)) {
    const least = (slots * slotMemoryBytesMin) >> 20;
    throw new FsError(
      'INVALID_ARGUMENT',
      `memoryBytes: ${memoryBytes} for ${slots} slots; at least ${least} MiB, or use fewer slots`,
    );
  }
  const threadsPerSlot = Math.max(1, Math.floor(cores / slots));
  return { slots, threadsPerSlot, memoryBytesPerSlot, threads: Math.max(cores, 1), memoryBytes };
}

function memoryLimitBytes(): number {
  for (const path of ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes']) {
    try {
      const limit = Number(readFileSync(path, 'utf8'));
      if (limit > 0 && limit < totalmem()) return limit;
    } catch {
      // The other version of control groups, or none.
    }
  }
  return totalmem();
}
