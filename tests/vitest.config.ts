import { defineConfig } from 'vitest/config';

// These judge against goals how long single operations took: beside them runs at most one other cluster.
const judged = ['tests/cluster/managers.test.ts', 'tests/faults/hardships.test.ts'];
// This one needs all cores for its history, and judges as well.
const alone = ['tests/faults/random-kills.test.ts'];

/** Real clusters on this machine: four at a time, for they mostly wait; then those that judge. */
export default defineConfig({
  test: {
    testTimeout: 240_000,
    hookTimeout: 120_000,
    globalSetup: 'tests/setup.ts',
    projects: [
      {
        extends: true,
        test: {
          name: 'shared',
          include: ['tests/**/*.test.ts'],
          exclude: [...judged, ...alone],
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: 'judged', include: judged, maxWorkers: 2, sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: { name: 'alone', include: alone, maxWorkers: 1, sequence: { groupOrder: 3 } },
      },
    ],
  },
});
