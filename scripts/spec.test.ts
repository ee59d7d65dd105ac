// The TLA+ spec of a change of chain, leases and resync, at small bounds: what holds there, and that each rule
// which is left out breaks it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

interface Outcome {
  readonly success: boolean;
  readonly error_type: string | null;
  readonly error_message: string | null;
  readonly states_explored: number;
  readonly trace: readonly string[] | null;
}

interface Bounds {
  readonly maxVersion: number;
  readonly maxWrites: number;
}

const root = dirname(import.meta.dirname);
const spec = readFileSync(join(root, 'native/crates/chain/spec/chain.tla'), 'utf8');
const checker = await import('tla-checker');
const wasm = join(dirname(createRequire(import.meta.url).resolve('tla-checker')), 'tla_checker_bg.wasm');
checker.initSync({ module: readFileSync(wasm) });

const statesMax = 200_000;
const depthMax = 100;
/** Some ten seconds of a core; a busy machine needs many times that. */
const timeoutMs = 300_000;

const known = new Map<string, Outcome>();

/** Explored once per question, however often it is asked. */
function check(mutation: string, invariant: string, bounds: Bounds): Outcome {
  const config = `SPECIFICATION Spec\nINVARIANT ${invariant}\n`;
  const { maxVersion, maxWrites } = bounds;
  const constants = { MaxVersion: maxVersion, MaxWrites: maxWrites, Mutation: mutation };
  const json = JSON.stringify(constants);
  const key = invariant + json;
  const outcome =
    known.get(key) ??
    (JSON.parse(
      checker.check_spec_with_cfg(spec, config, json, statesMax, depthMax, true, false),
    ) as Outcome);
  known.set(key, outcome);
  return outcome;
}

test('no read is stale, in every order of events within the bounds', { timeout: timeoutMs }, () => {
  const outcome = check('none', 'NeverStale', { maxVersion: 4, maxWrites: 2 });
  expect(outcome).toMatchObject({ success: true, error_type: null, error_message: null });
  expect(outcome.states_explored).toBeGreaterThan(3000);
  expect(outcome.states_explored).toBeLessThan(statesMax);
});

test('within the bounds a member leaves, is synced and serves again', { timeout: timeoutMs }, () => {
  const outcome = check('none', 'NeverReturns', { maxVersion: 4, maxWrites: 2 });
  expect(outcome.error_type).toBe('InvariantViolation');
});

test.each([
  ['no lease', { maxVersion: 2, maxWrites: 1 }],
  ['early ack', { maxVersion: 2, maxWrites: 1 }],
  ['R4', { maxVersion: 3, maxWrites: 1 }],
  ['no chain version', { maxVersion: 4, maxWrites: 2 }],
  ['R2', { maxVersion: 4, maxWrites: 2 }],
  ['no settling', { maxVersion: 4, maxWrites: 2 }],
] satisfies [string, Bounds][])(
  'without the rule it breaks: %s',
  { timeout: timeoutMs },
  (mutation, bounds) => {
    expect(check('none', 'NeverStale', bounds).success).toBe(true);
    const outcome = check(mutation, 'NeverStale', bounds);
    expect(outcome.error_type).toBe('InvariantViolation');
    expect(outcome.trace?.at(-1)).toContain('stale = true');
  },
);
