// What the cluster in a folder is doing now: which processes live, and whether they say that they are
// healthy.
import { readFileSync } from 'node:fs';
import { FsError } from '@catena/core';
import { load } from '../supervisor/process-identity.ts';
import { pidFile, supervisorFile } from '../supervisor/supervisor.ts';
import type { ClusterDescription } from './description.ts';

export interface ProcessStatus {
  readonly name: string;
  readonly role: string;
  readonly pid: number | undefined;
  readonly healthy: boolean;
  readonly http: string;
}

export interface ChainSummary {
  readonly id: number;
  readonly version: string;
  readonly members: readonly {
    readonly target: string;
    readonly node: number;
    readonly state: string;
    readonly missingBytes: string;
  }[];
}

export interface ClusterStatus {
  readonly name: string;
  readonly directory: string;
  readonly supervisor: number | undefined;
  readonly processes: readonly ProcessStatus[];
  readonly chains: readonly ChainSummary[] | undefined;
  readonly mountpoint: string | undefined;
  readonly mounted: boolean;
}

/** A status page on this machine answers within this, or counts as silent. */
const httpMs = 2_000;

export async function clusterStatus(cluster: ClusterDescription): Promise<ClusterStatus> {
  const processes = await Promise.all(
    cluster.processes.map(async (spec): Promise<ProcessStatus> => {
      const pid = load(pidFile(cluster, spec))?.pid;
      const healthy = pid !== undefined && (await fetchJson(`http://${spec.http}/healthz`)) !== undefined;
      return { name: spec.name, role: spec.role, pid, healthy, http: `http://${spec.http}/` };
    }),
  );
  const chains = (await managerPage(cluster, 'chains')) as ChainSummary[] | undefined;
  return {
    name: cluster.name,
    directory: cluster.directory,
    supervisor: load(supervisorFile(cluster))?.pid,
    processes,
    chains,
    mountpoint: cluster.mountpoint,
    mounted: cluster.mountpoint !== undefined && isMounted(cluster.mountpoint),
  };
}

/** What the manager shows under that name; undefined if none answers. Of several only the one who decides does. */
export async function managerPage(cluster: ClusterDescription, name: string): Promise<unknown> {
  const managers = cluster.processes.filter((spec) => spec.role === 'manager');
  const pages = managers.map((spec) => fetchJson(`http://${spec.http}/api/${name}.json`));
  return (await Promise.all(pages)).find((page) => page !== undefined);
}

/** As `managerPage`, or an error that says what is missing. */
export async function requirePage(cluster: ClusterDescription, name: string): Promise<unknown> {
  const page = await managerPage(cluster, name);
  if (page === undefined) {
    throw new FsError(
      'UNREACHABLE',
      `the manager of ${cluster.directory} does not answer; start it with: catena up`,
    );
  }
  return page;
}

/** Every process healthy, every member of every chain serving, and mounted where a mount is wanted. */
export function isReady(status: ClusterStatus): boolean {
  return notReady(status) === undefined;
}

/** The first thing that is missing, in words; undefined if nothing is. */
export function notReady(status: ClusterStatus): string | undefined {
  const silent = status.processes.find((entry) => !entry.healthy);
  if (silent !== undefined) {
    return silent.pid === undefined
      ? `${silent.name} does not run`
      : `${silent.name} (pid ${silent.pid}) is not healthy yet`;
  }
  if (status.chains === undefined) return 'the manager does not show its chains';
  for (const chain of status.chains) {
    const waiting = chain.members.find((member) => member.state !== 'serving');
    if (waiting !== undefined) {
      return `chain ${chain.id}: target ${waiting.target} is ${waiting.state}${lackOf(waiting)}`;
    }
  }
  if (status.mountpoint !== undefined && !status.mounted) return `${status.mountpoint} is not mounted`;
  return undefined;
}

/** Of a target that stays out of its chain because its disk has no room for it; else empty. */
export function lackOf({ missingBytes }: { readonly missingBytes: string | null }): string {
  const mebibytes = Math.ceil(Number(missingBytes ?? 0) / 2 ** 20);
  return mebibytes === 0 ? '' : `, its disk lacks ${mebibytes} MiB`;
}

/** The answer's JSON (or its text), or undefined if there is no good answer in time. */
export async function fetchJson(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(httpMs) });
    if (!response.ok) return undefined;
    const text = await response.text();
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  } catch {
    return undefined;
  }
}

export function isMounted(mountpoint: string): boolean {
  // Field 5 of mountinfo is the mount point, with spaces and the like as octal escapes.
  const escaped = mountpoint.replace(
    /[ \t\n\\]/g,
    (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === escaped);
}
