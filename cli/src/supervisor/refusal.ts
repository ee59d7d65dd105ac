// A process that refuses to start says why in its last line. The supervisor keeps that line where `up` finds
// it, so that people read the reason at once instead of waiting for a timeout.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterDescription, ProcessSpec } from '../cluster/description.ts';

function fileOf(cluster: ClusterDescription, spec: ProcessSpec): string {
  return join(cluster.directory, 'run', `${spec.name}.refused`);
}

/** Keeps the last line that the process wrote. */
export function noteRefusal(cluster: ClusterDescription, spec: ProcessSpec): void {
  const log = readFileSync(join(cluster.directory, 'logs', `${spec.name}.log`), 'utf8');
  writeFileSync(fileOf(cluster, spec), log.trimEnd().split('\n').at(-1) ?? '');
}

export function forgetRefusals(cluster: ClusterDescription): void {
  for (const spec of cluster.processes) rmSync(fileOf(cluster, spec), { force: true });
}

/** What the first process that refused said; undefined if none did. */
export function findRefusal(cluster: ClusterDescription): string | undefined {
  for (const spec of cluster.processes) {
    try {
      const reason = readFileSync(fileOf(cluster, spec), 'utf8');
      // A full disk keeps the file and not what is in it.
      const known = reason === '' ? `see ${join(cluster.directory, 'logs', `${spec.name}.log`)}` : reason;
      return `${spec.name} refused to start: ${known}`;
    } catch {}
  }
  return undefined;
}
