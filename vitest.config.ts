import { defineConfig } from 'vitest/config';
import { plantedCopies } from './cluster-manager/src/testing/planted.ts';

// Properties over many cases, real etcd, real workers that die, the TLA+ spec: `npm run check` goes without them.
const long = [
  'cluster-manager/src/{twin,election/election}.test.ts',
  'compute/src/session/*.test.ts',
  'scripts/spec.test.ts',
];

// The `source` condition makes tests read each package's src, so that they run without a TypeScript build.
export default defineConfig({
  plugins: [plantedCopies()],
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    // Two at a time also on two cores, where the runner's own choice is one: half of them wait more than they compute.
    maxWorkers: 2,
    testTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['*/src/**/*.test.ts', 'scripts/**/*.test.ts'], exclude: long },
      },
      { extends: true, test: { name: 'long', include: long } },
    ],
  },
});
