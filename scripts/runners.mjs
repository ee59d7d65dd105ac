// What `check` and `test` run: each entry is one runner, how its output is counted, and what it needs.
// A runner that prints no count of its own counts as one test.
const cargo = ['cargo', '--quiet'];
const release = ['--release'];

export const checks = [
  { name: 'format and lint', command: ['node_modules/.bin/biome', 'ci', '--diagnostic-level=error', '.'] },
  { name: 'types', command: ['node_modules/.bin/tsc', '-b'] },
  { name: 'rust format', command: ['cargo', 'fmt', '--check'] },
  {
    name: 'clippy',
    command: [...cargo, 'clippy', ...release, '--all-targets', '--', '-D', 'warnings'],
  },
  { name: 'rust tests', command: [...cargo, 'test', ...release], counts: 'cargo' },
  { name: 'typescript tests', command: ['node_modules/.bin/vitest', 'run'], counts: 'vitest' },
];

export const tests = [
  { name: 'generated code', command: ['node', 'scripts/generate.mjs', '--check'] },
  { name: 'simulated chains', command: [...cargo, 'run', ...release, '-p', 'sim', '--', 'chain', '--check'] },
  {
    name: 'cluster tests',
    command: ['node_modules/.bin/vitest', 'run', '--config', 'tests/vitest.config.ts'],
    counts: 'vitest',
  },
];
