// A storage server's host is cut off: from everyone, from the manager alone while clients still reach it, and in one
// direction; then hosts lose packets and delay them. Nobody reads what is stale, no client sees an error, and the
// copies are equal afterwards.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ExtraMount } from './extra-mount.ts';
import { Hosts, othersThan } from './hosts.ts';
import { equalWithinMs, Load, longestMsMax, overTwoSecondsPartMax } from './load.ts';
import { fromEnvironment, seedOf } from './schedule.ts';

/** Beyond the lease of 5 s and its margin. */
const cutMs = fromEnvironment('CATENA_CUT_MS', 8_000);
const lossyMs = cutMs / 2;
const timeoutMs = 180_000 + 6 * cutMs;
const servers = ['storage-1', 'storage-2', 'storage-3'] as const;
let hosts: Hosts;
let mounts: ExtraMount[];
beforeAll(async () => {
  hosts = await Hosts.start();
  mounts = [await hosts.mountOn('client', 1), await hosts.mountOn('other-client', 2)];
});
afterAll(() => hosts?.stop());

/** `faults` ends with everything healed. */
async function underLoad(name: string, faultsMs: number, faults: () => Promise<void>): Promise<void> {
  const seed = seedOf('tests/faults/network.test.ts', `CATENA_CUT_MS=${cutMs}`);
  const load = new Load({ cluster: hosts, mounts, seed, seconds: Math.ceil(faultsMs / 1_000) + 3, name });
  await sleep(1_500);
  await faults();
  const healed = performance.now();
  const figures = await load.judge();
  await hosts.untilReady();
  const verified = hosts.catena('verify');
  expect(verified.status, verified.said).toBe(0);
  const equalMs = performance.now() - healed;
  console.info(`${name}: ${JSON.stringify({ ...figures, equalMs })}`);
  expect(figures.overTwoSecondsPart).toBeLessThanOrEqual(overTwoSecondsPartMax);
  expect(figures.longestMs).toBeLessThanOrEqual(longestMsMax);
  expect(equalMs).toBeLessThanOrEqual(equalWithinMs);
}

test(
  'hosts are cut off, wholly, from the manager alone, and in one direction',
  () =>
    underLoad('cuts', 3 * (cutMs + 1_000), async () => {
      const during = async (host: (typeof servers)[number]): Promise<void> => {
        await sleep(cutMs);
        // The cut was real: the manager gave this host up, with every target on it.
        const node = servers.indexOf(host) + 1;
        const targets = JSON.parse(hosts.catena('targets', '--json').said) as {
          node: number;
          state: string;
        }[];
        const own = targets.filter((target) => target.node === node);
        expect(own.length).toBeGreaterThan(0);
        expect(own.filter(({ state }) => state === 'serving')).toEqual([]);
        hosts.heal(host);
        await sleep(1_000);
      };
      hosts.cut('storage-1', 'both', othersThan('storage-1'));
      await during('storage-1');
      hosts.cut('storage-2', 'both', ['control']);
      await during('storage-2');
      hosts.cut('storage-3', 'in', ['control']);
      await during('storage-3');
    }),
  timeoutMs,
);

test(
  'every storage host loses packets, and one sends through a narrow link',
  () =>
    underLoad('lossy', lossyMs, async () => {
      const before = hosts.retransmissions('storage-1');
      for (const host of servers) hosts.lose(host, 10);
      hosts.narrow('storage-2', '100mbit', 100);
      await sleep(lossyMs);
      for (const host of servers) hosts.keepPackets(host);
      hosts.widen('storage-2');
      expect(hosts.retransmissions('storage-1')).toBeGreaterThan(before + 10);
    }),
  timeoutMs,
);
