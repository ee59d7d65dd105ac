// The thread behind renewal.ts.
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { Etcd, FsError, realClock, sleep } from '@catena/core';
import { bootClockMs } from '@catena/native';
import { type RenewalData, readyMessage, slots } from './renewal.ts';
import { roleMarginMs } from './role.ts';

/** Several tries fit into the lease. */
const renewMs = 400;
/** A main loop that has not come round for so long may be stuck: let another manager decide. */
const mainLoopMs = 1_000;

const { hosts, shared } = workerData as RenewalData;
const times = new BigInt64Array(shared);
const clock = realClock(bootClockMs);
const etcd = await Etcd.open(hosts, clock);

function ignoreUnreachable(error: unknown): undefined {
  if (!(error instanceof FsError) || error.code !== 'UNREACHABLE') throw error;
  return undefined;
}

/** Until the lease has ended. */
async function renew(lease: string): Promise<void> {
  for (;;) {
    const sentMs = clock.nowMs();
    if (sentMs - Number(Atomics.load(times, slots.mainLoop)) < mainLoopMs) {
      const ttlSeconds = await etcd.keepAlive(lease).catch(ignoreUnreachable);
      // Whoever gave the role up has stored 0, and it stays so.
      const before = Atomics.load(times, slots.validUntil);
      if (ttlSeconds === 0 || before === 0n) break;
      if (ttlSeconds !== undefined) {
        const validUntilMs = BigInt(Math.floor(sentMs + ttlSeconds * 1000 - roleMarginMs));
        Atomics.compareExchange(times, slots.validUntil, before, validUntilMs);
      }
    }
    await sleep(clock, renewMs);
  }
  Atomics.store(times, slots.validUntil, 0n);
}

// Connected before it matters.
await etcd.get(Buffer.from('role')).catch(ignoreUnreachable);
if (parentPort === null) throw new Error('this is a thread of renewal.ts');
parentPort.postMessage(readyMessage);
const [lease] = (await once(parentPort, 'message')) as [string];
await renew(lease);
etcd.close();
