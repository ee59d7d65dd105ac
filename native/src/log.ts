// Log lines of the native parts, in the form of core's.
import type { LogLevel } from '@catena/core';
import { binding } from './binding.ts';

/** From here on, of this level and above; the first call of a process counts. */
export function startNativeLog(process: string, level: LogLevel = 'info'): void {
  binding().startLog(process, level);
}
