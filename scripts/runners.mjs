// What `check` and `test` run: each entry is one runner, how its output is counted, and what it needs.
// A runner that prints no count of its own counts as one test.
const cargo = ['cargo', '--quiet'];
const release = ['--release'];
const vitest = ['node_modules/.bin/vitest', 'run'];
// The simulator has the chain compiled with planted bugs. Apart from it, the tests use what the product was built from;
// together, cargo would build the chain and all that stands on it a second time.
const simulator = ['-p', 'sim'];
const product = ['--workspace', '--exclude', 'sim', '--exclude', 'wire-codegen'];
// No crate has examples in its docs, so nothing is left out between these two.
const unit = ['--lib', '--bins'];
const integration = ['--test', '*', '--no-fail-fast'];
// More than there are cores: clusters of a process mostly wait, for leases and for the next heartbeat.
const sideBySide = ['--', '--test-threads=6'];

export const checks = [
  { name: 'format and lint', command: ['node_modules/.bin/biome', 'ci', '--diagnostic-level=error', '.'] },
  { name: 'types', command: ['node_modules/.bin/tsc', '-b'] },
  { name: 'rust format', command: ['cargo', 'fmt', '--check'] },
  {
    name: 'clippy',
    command: [...cargo, 'clippy', ...release, '--all-targets', '--', '-D', 'warnings'],
  },
  { name: 'rust unit tests', command: [...cargo, 'test', ...release, ...product, ...unit], counts: 'cargo' },
  {
    name: 'simulator unit tests',
    command: [...cargo, 'test', ...release, ...simulator, ...unit],
    counts: 'cargo',
  },
  { name: 'typescript unit tests', command: [...vitest, '--project', 'unit'], counts: 'vitest' },
];

/** Built before anything judges how long an operation took: that is no time to compile. */
export const programs = [
  // Some tests run one.
  { name: 'rust examples', command: [...cargo, 'build', ...release, ...product, '--examples'] },
  {
    name: 'rust tests, built',
    command: [...cargo, 'test', '--no-run', ...release, ...product, ...integration],
  },
  { name: 'simulator, built', command: [...cargo, 'build', '--tests', '--bins', ...release, ...simulator] },
];

/** The words that run tests on real clusters: those of these files, or of these projects. */
export const clusterTests = (...words) => [...vitest, '--config', 'tests/vitest.config.ts', ...words];

const onClusters = (name, ...words) => ({ name, command: clusterTests(...words), counts: 'vitest' });

/** Real clusters, four at a time: they wait often. */
export const clusters = [onClusters('cluster tests', '--project', 'shared')];

export const besideClusters = [
  {
    name: 'rust tests',
    command: [...cargo, 'test', ...release, ...product, ...integration, ...sideBySide],
    counts: 'cargo',
  },
  { name: 'typescript tests', command: [...vitest, '--project', 'long'], counts: 'vitest' },
  { name: 'generated code', command: ['node', 'scripts/generate.mjs', '--check'] },
];

/** Those that judge against goals how long single operations took. */
export const judges = [
  onClusters('cluster tests that judge latencies', '--project', 'judged', '--project', 'alone'),
];

/** It only computes, and gives way. */
const givesWay = ['nice', '-n', '19'];

export const besideJudges = [
  {
    name: 'simulated chains',
    command: [...givesWay, ...cargo, 'run', ...release, ...simulator, '--', 'chain', '--check'],
  },
  {
    name: 'simulator tests',
    command: [...givesWay, ...cargo, 'test', ...release, ...simulator, ...integration],
    counts: 'cargo',
  },
];

/** What docs/replication.md promises of chains, under faults: a part of the tests, in a few minutes. */
export const evidence = [onClusters('faults on real clusters', 'tests/faults')];

export const besideEvidence = [
  {
    name: 'crashes of the engine',
    command: [...givesWay, ...cargo, 'test', ...release, '-p', 'chunk-engine', ...integration],
    counts: 'cargo',
  },
  ...besideJudges,
  {
    name: 'specification',
    command: [...givesWay, ...vitest, '--project', 'long', 'scripts/spec.test.ts'],
    counts: 'vitest',
  },
];
