// A metadata service that stands still keeps nobody from reading and writing what is open, however many callers wait
// for names.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { RunningCluster } from './running-cluster.ts';

let cluster: RunningCluster;
beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

const MiB = 1024 * 1024;
/** More than any pool of threads that a mount would have for blocking calls. */
const callers = 200;
/** Who waits for the metadata service waits for `ioTimeoutMs`, 60 s. */
const hangMs = 40_000;

/** Processes of a group that sleep in the kernel for the file system, as `stat` does while nobody answers. */
function waitingOf(group: number): number {
  let count = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (stat.includes('(stat)') && Number(fields[2]) === group && 'SD'.includes(fields[0] ?? '')) count++;
    } catch {} // it ended meanwhile
  }
  return count;
}

/** Fails instead of waiting for the metadata service's end. */
function soon<T>(what: string, work: Promise<T>): Promise<T> {
  const hangs = sleep(hangMs, undefined, { ref: false }).then(() => {
    throw new Error(`${what} waits for the metadata service`);
  });
  return Promise.race([work, hangs]);
}

test('reads and writes of open files go on while two hundred callers wait for names', async () => {
  const data = contentOf(3, 8 * MiB);
  const path = join(cluster.mount, 'open');
  writeFileSync(path, data, { flush: true });
  // Without O_DIRECT the kernel itself asks for attributes before it reads, once they are a second old (P20).
  await using file = await open(path, constants.O_RDWR | constants.O_DIRECT);
  const meta = cluster.pidOf('meta');
  process.kill(meta, 'SIGSTOP');
  try {
    const script = `n=0; while [ $n -lt ${callers} ]; do stat -t "$1/none-$n" > /dev/null 2>&1 & n=$((n + 1)); done; wait`;
    const names = spawn('sh', ['-c', script, 'sh', cluster.mount], { detached: true, stdio: 'ignore' });
    const ended = once(names, 'exit');
    for (let round = 0; waitingOf(names.pid ?? 0) < callers; round++) {
      expect(round, 'the callers never waited').toBeLessThan(600);
      await sleep(100);
    }
    const back = Buffer.alloc(data.length);
    for (let at = 0; at < back.length; at += MiB) await soon('a read', file.read(back, at, MiB, at));
    expect(back.equals(data)).toBe(true);
    await soon('a write', file.write(contentOf(4, MiB), 0, MiB, 0));
    expect(waitingOf(names.pid ?? 0), 'they waited all the time').toBe(callers);
    process.kill(meta, 'SIGCONT');
    await ended;
  } finally {
    process.kill(meta, 'SIGCONT');
  }
  expect(readFileSync(path).equals(Buffer.concat([contentOf(4, MiB), data.subarray(MiB)]))).toBe(true);
});
