// The power of a whole machine is cut below its local file system: every fsynced byte is there after the boot, and
// everything verifies. The same on a disk that ignores flushes must fail, or the test could not have found anything.
// `npm run soak` makes more cuts.

import { afterAll, expect, test } from 'vitest';
import { PowerRig } from './power-rig.ts';
import { Chance, fromEnvironment, seedOf } from './schedule.ts';

const runs = fromEnvironment('CATENA_POWER_RUNS', 1);
const cutsPerRun = fromEnvironment('CATENA_POWER_CUTS_PER_RUN', 3);
/** Each lies about the flushes of a moment before the cut. */
const controlsMax = 6;
const runSeconds = 4;
let rig = new PowerRig(20_100);
afterAll(() => rig.stop());

test(
  'the power is cut: every fsynced byte is there, and all verifies',
  async () => {
    const also = `CATENA_POWER_RUNS=${runs} CATENA_POWER_CUTS_PER_RUN=${cutsPerRun}`;
    const seed = seedOf('tests/faults/power-cut.test.ts', also);
    const chance = new Chance(seed);
    const totals = { cuts: 0, promises: 0, blocks: 0, torn: 0, writesKept: 0, writesLost: 0 };
    for (let run = 0; run < runs; run++) {
      if (run > 0) {
        await rig.stop();
        rig = new PowerRig(20_100);
      }
      await rig.record(seed + run, runSeconds);
      for (let number = 0; number < cutsPerRun; number++) {
        const cut = { seed: chance.below(2 ** 31) };
        const after = await rig.cut(cut);
        const where = `run ${run} (seed ${seed}), cut ${number}: ${JSON.stringify({ ...cut, ...after.disk })}`;
        expect(after.failures, where).toEqual([]);
        totals.cuts += 1;
        totals.promises += after.promises;
        totals.blocks += after.blocks;
        totals.torn += after.torn;
        totals.writesKept += after.disk.kept;
        totals.writesLost += after.disk.lost;
      }
    }
    console.info(`power cuts: ${JSON.stringify(totals)}`);
    expect(totals.blocks).toBeGreaterThan(10 * totals.cuts);
    expect(totals.writesKept + totals.writesLost, 'cuts with nothing unflushed').toBeGreaterThanOrEqual(
      totals.cuts,
    );
  },
  (60 + runs * (30 + cutsPerRun * 30)) * 1_000,
);

test('the same cut on a disk that ignores flushes fails', async () => {
  for (let seed = 1; seed <= controlsMax; seed++) {
    const { failures } = await rig.cut({ seed, flushesIgnoredNs: 60_000_000n });
    if (failures.length === 0) continue;
    console.info(`without flushes: ${failures[0]}`);
    // The flushes are the only difference.
    expect((await rig.cut({ seed })).failures).toEqual([]);
    return;
  }
  expect.fail(`${controlsMax} cuts without flushes broke no promise`);
});
