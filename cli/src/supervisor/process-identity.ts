// Who a process is, so that a pid which the kernel gave to another process is never taken for ours: pid,
// start time in clock ticks since boot, and the boot itself. Stored for each process; nothing is ever
// signalled without this check.
import { readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** The identity of a living process, or undefined if there is none with that pid (a zombie counts as none). */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name may hold spaces and brackets; the fields after it may not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    const startTicks = fields[19];
    if (state === 'Z' || startTicks === undefined) return undefined;
    return { pid, startTicks, bootId: bootId() };
  } catch {
    return undefined;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}

/** Signals that very process; false if it is gone. */
export function signal(identity: ProcessIdentity, name: 'SIGTERM' | 'SIGKILL' | 'SIGINT'): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, name);
    return true;
  } catch {
    return false;
  }
}

/**
 * As a symbolic link to `pid startTicks bootId`: that is short enough to lie in the inode itself, so it needs no block,
 * and a cluster starts on a disk that is full to the last one.
 */
export function store(path: string, { pid, startTicks, bootId }: ProcessIdentity): void {
  forget(`${path}.new`);
  symlinkSync(`${pid} ${startTicks} ${bootId}`, `${path}.new`);
  renameSync(`${path}.new`, path);
}

/** The living process that was stored there, or undefined. */
export function load(path: string): ProcessIdentity | undefined {
  try {
    const [pid, startTicks = '', boot = ''] = readlinkSync(path).split(' ');
    const identity = { pid: Number(pid), startTicks, bootId: boot };
    return isAlive(identity) ? identity : undefined;
  } catch {
    return undefined;
  }
}

export function forget(path: string): void {
  rmSync(path, { force: true });
}
