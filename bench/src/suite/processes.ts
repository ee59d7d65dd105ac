// What processes cost: CPU seconds from /proc/PID/stat, memory as PSS, which counts a shared page once, and bytes
// that the disks took.
import { readFileSync, statSync } from 'node:fs';

/** USER_HZ, which Linux fixes at 100 for everything that leaves the kernel. */
const ticksPerSecond = 100;

/** User and system seconds of one process, all threads, since its start; 0 if it is gone. */
function cpuSecondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return 0;
  }
}

export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((total, pid) => total + cpuSecondsOf(pid), 0);
}

/** Proportional set size of all of them, in MiB. */
export function pssMiB(pids: readonly number[]): number {
  let kib = 0;
  for (const pid of pids) {
    try {
      kib += Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {}
  }
  return kib / 1024;
}

/** What the device below a folder has taken since the machine started, in bytes; NaN if that is no disk. */
export function bytesWritten(folder: string): number {
  const device = BigInt(statSync(folder).dev);
  // As glibc's gnu_dev_major and gnu_dev_minor.
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  const rows = readFileSync('/proc/diskstats', 'utf8').trim().split('\n');
  const fields = rows.map((row) => row.trim().split(/\s+/));
  const own = fields.find((each) => each[0] === `${major}` && each[1] === `${minor}`);
  return Number(own?.[9] ?? Number.NaN) * 512;
}
