import { defineConfig } from 'vitest/config';
import { plantedCopies } from './cluster-manager/src/testing/planted.ts';

// The `source` condition makes tests read each package's src, so that they run without a TypeScript build.
export default defineConfig({
  plugins: [plantedCopies()],
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['*/src/**/*.test.ts', 'scripts/**/*.test.ts'],
    testTimeout: 30_000,
  },
});
