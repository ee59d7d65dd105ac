// What `scripts/test` runs once everything is built: the checks, then the tests on real clusters and what fits beside
// them.
import { finish, runAll } from './run-all.mjs';
import { besideClusters, checks, clusters, programs } from './runners.mjs';

const before = await runAll([...checks, ...programs]);
const meanwhile = await runAll(clusters, besideClusters);
finish({ passed: before.passed + meanwhile.passed, failed: before.failed + meanwhile.failed });
