// A storage server's host is cut off: from everyone, from the manager alone while clients still reach it, and in one
// direction. Nobody reads what is stale, no client sees an error, and the copies are equal afterwards.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Hosts, othersThan } from './hosts.ts';
import { equalWithinMs, Load, longestMsMax, overTwoSecondsPartMax } from './load.ts';
import { fromEnvironment, seedOf } from './schedule.ts';

/** Beyond the lease of 5 s and its margin. */
const cutMs = fromEnvironment('CATENA_CUT_MS', 8_000);
let hosts: Hosts;
beforeAll(async () => {
  hosts = await Hosts.start();
});
afterAll(() => hosts?.stop());

test(
  'hosts are cut off, wholly, from the manager alone, and in one direction',
  async () => {
    const seed = seedOf('tests/faults/network.test.ts', `CATENA_CUT_MS=${cutMs}`);
    const mounts = [await hosts.mountOn('client', 1), await hosts.mountOn('other-client', 2)];
    const seconds = Math.ceil((3 * cutMs) / 1_000) + 6;
    const load = new Load({ cluster: hosts, mounts, seed, seconds, name: 'cuts' });
    await sleep(1_500);
    const during = async (host: 'storage-1' | 'storage-2' | 'storage-3'): Promise<void> => {
      await sleep(cutMs);
      // The cut was real: the manager gave the host up.
      const members = hosts.catena('status', '--json').said;
      expect(members).toMatch(/"state": ?"(offline|waiting|lastsrv)"/);
      hosts.heal(host);
      await sleep(1_000);
    };
    hosts.cut('storage-1', 'both', othersThan('storage-1'));
    await during('storage-1');
    hosts.cut('storage-2', 'both', ['control']);
    await during('storage-2');
    hosts.cut('storage-3', 'in', ['control']);
    await during('storage-3');
    const healed = performance.now();
    const figures = await load.judge();
    await hosts.untilReady();
    const verified = hosts.catena('verify');
    expect(verified.status, verified.said).toBe(0);
    const equalMs = performance.now() - healed;
    console.info(`cuts: ${JSON.stringify({ ...figures, equalMs })}`);
    expect(figures.overTwoSecondsPart).toBeLessThanOrEqual(overTwoSecondsPartMax);
    expect(figures.longestMs).toBeLessThanOrEqual(longestMsMax);
    expect(equalMs).toBeLessThanOrEqual(equalWithinMs);
  },
  180_000 + 6 * cutMs,
);
