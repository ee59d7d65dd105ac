import { defineConfig } from 'vitest/config';

// Real clusters on this machine: one test file at a time, since two cores carry one cluster.
export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
    globalSetup: 'tests/setup.ts',
  },
});
