// What `scripts/test` runs once everything is built: the checks, then the tests on real clusters.
import { finish, runAll } from './run-all.mjs';
import { checks, tests } from './runners.mjs';

finish(await runAll([...checks, ...tests]));
