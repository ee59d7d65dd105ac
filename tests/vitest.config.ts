import { defineConfig } from 'vitest/config';

// Of a loaded cluster these judge how long single operations took, against goals: no other one runs meanwhile.
const alone = [
  'tests/cluster/managers.test.ts',
  'tests/faults/hardships.test.ts',
  'tests/faults/random-kills.test.ts',
];

/** Real clusters on this machine: those with the machine for themselves, and the others four at a time: they mostly wait. */
export default defineConfig({
  test: {
    testTimeout: 240_000,
    hookTimeout: 120_000,
    globalSetup: 'tests/setup.ts',
    projects: [
      {
        extends: true,
        test: { name: 'alone', include: alone, maxWorkers: 1, sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: {
          name: 'shared',
          include: ['tests/**/*.test.ts'],
          exclude: alone,
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
