// What lies on the disks of storage servers, below everything that checks it.
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';

export interface Place {
  readonly path: string;
  readonly offset: number;
}

/** Where those bytes stand below the folder: every file and offset. Chunks start at multiples of 4 KiB. */
export function find(folder: string, wanted: Buffer): Place[] {
  const found: Place[] = [];
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const entry of files) {
    const path = join(entry.parentPath, entry.name);
    const fd = openSync(path, 'r');
    for (const { start, end } of dataOf(path)) {
      for (let offset = start; offset < end; offset += 4096) {
        if (
          readAt(fd, offset, 64).equals(wanted.subarray(0, 64)) &&
          readAt(fd, offset, wanted.length).equals(wanted)
        ) {
          found.push({ path, offset });
        }
      }
    }
    closeSync(fd);
  }
  return found;
}

/** The parts of a sparse file that hold data: a segment is mostly holes, and reading those takes minutes. */
function dataOf(path: string): { start: number; end: number }[] {
  // Node has no SEEK_DATA (3) and SEEK_HOLE (4); perl is part of every Debian.
  const script =
    'open $f, "<", shift; $n = -s $f; $at = 0; while ($at < $n) { ' +
    'defined($s = sysseek $f, $at, 3) or last; $at = sysseek $f, $s, 4; print $s - $s % 4096, " $at\\n" }';
  const done = spawnSync('perl', ['-e', script, path], { encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  const lines = done.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const [start = 0, end = 0] = line.split(' ').map(Number);
    return { start, end };
  });
}

export function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
}
