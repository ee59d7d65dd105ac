// `npm run evidence`: what is promised of chains, under faults; of what is built it takes less than four minutes.
import { finish, runAll } from './run-all.mjs';
import { besideEvidence, evidence, programs } from './runners.mjs';

const before = await runAll(programs);
const started = performance.now();
const meanwhile = await runAll(evidence, besideEvidence);
console.log(`\n== all of it: ${((performance.now() - started) / 1000).toFixed(0)} s`);
finish(before, meanwhile);
