import { defineConfig } from 'vitest/config';

// What judges how long something took has this machine for itself: two cores carry one loaded cluster.
const timed = [
  'tests/cluster/change.test.ts',
  'tests/cluster/fencing.test.ts',
  'tests/cluster/growth.test.ts',
  'tests/cluster/kills.test.ts',
  'tests/cluster/managers.test.ts',
  'tests/faults/hardships.test.ts',
  'tests/faults/network.test.ts',
  'tests/faults/random-kills.test.ts',
  'tests/faults/reader.test.ts',
];

/** Real clusters on this machine: the timed files one after another, then the others two at a time. */
export default defineConfig({
  test: {
    testTimeout: 240_000,
    hookTimeout: 120_000,
    globalSetup: 'tests/setup.ts',
    projects: [
      {
        extends: true,
        test: { name: 'timed', include: timed, maxWorkers: 1, sequence: { groupOrder: 0 } },
      },
      {
        extends: true,
        test: {
          name: 'shared',
          include: ['tests/**/*.test.ts'],
          exclude: timed,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
