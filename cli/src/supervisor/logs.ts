// Logs stay bounded while their processes run. Every process of the cluster appends to a file that it holds open, and
// outlives the supervisor, so no pipe can stand between: a file that is full is copied aside and then emptied. Appends
// go on at its new beginning; a line written in the microseconds between the two steps is lost.
import { copyFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterDescription } from '../cluster/description.ts';

/**
 * Some hundred thousand lines, which is days of an ordinary life and hours of a bad one. With one old file for each of
 * the seven processes of a one-machine cluster that is at most 224 MiB.
 */
export const logBytesMax = 16 * 1024 * 1024;

/** How often they are looked at: what a process writes in between is all that a log can grow beyond its size. */
export const logCheckMs = 2_000;

/** Sets every log aside that is larger than it may be. Throws nothing but our own bugs: a log never stops a cluster. */
export function rotateLogs(cluster: ClusterDescription, bytesMax = logBytesMax): void {
  const folder = join(cluster.directory, 'logs');
  const names = attempt(() => readdirSync(folder)) ?? [];
  for (const name of names) {
    if (name.endsWith('.log')) rotate(join(folder, name), bytesMax);
  }
}

function rotate(path: string, bytesMax: number): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= bytesMax) return;
  const kept = attempt(() => {
    copyFileSync(path, `${path}.new`);
    renameSync(`${path}.new`, `${path}.1`);
    return true;
  });
  // No room for the copy: the bound comes before the old lines.
  if (kept === undefined) attempt(() => rmSync(`${path}.new`, { force: true }));
  attempt(() => truncateSync(path));
}

/** What the system refuses is tried again at the next look. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
}
