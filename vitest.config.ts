import { defineConfig } from 'vitest/config';
import { plantedCopies } from './cluster-manager/src/testing/planted.ts';

// The `source` condition makes tests read each package's src, so that they run without a TypeScript build.
export default defineConfig({
  plugins: [plantedCopies()],
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['*/src/**/*.test.ts', 'scripts/**/*.test.ts'],
    // Two at a time also on two cores, where the runner's own choice is one: half of them wait more than they compute.
    maxWorkers: 2,
    testTimeout: 60_000,
  },
});
