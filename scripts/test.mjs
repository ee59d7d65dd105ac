// What `scripts/test` runs once everything is built: the checks, then the tests on real clusters and what fits beside
// them: beside those that judge how long operations took, nothing but what gives way to them.
import { finish, runAll } from './run-all.mjs';
import { besideClusters, besideJudges, checks, clusters, judges, programs } from './runners.mjs';

finish(
  await runAll([...checks, ...programs]),
  await runAll(clusters, besideClusters),
  await runAll(judges, besideJudges),
);
