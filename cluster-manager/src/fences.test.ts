import { message } from '@catena/core';
import { expect, test } from 'vitest';
import { fencesHeld } from './fences.ts';

const { PUBLIC_SERVING, PUBLIC_LASTSRV, PUBLIC_OFFLINE } = message.PublicState;

const chain = (version: bigint, ...members: [target: bigint, state: message.PublicState][]): message.Chain =>
  message.Chain.fromPartial({
    version,
    members: members.map(([target, state]) => ({ target, state })),
    last: members.map(([target]) => target),
  });
const serving = (version: bigint, ...targets: bigint[]): message.Chain =>
  chain(version, ...targets.map((target): [bigint, message.PublicState] => [target, PUBLIC_SERVING]));

/** Reports as target, chain version, fences held. */
function held(chains: message.Chain[], ...reports: [bigint, bigint, bigint][]): bigint | undefined {
  return fencesHeld(chains, ({ target }) => {
    const found = reports.find(([other]) => other === target);
    if (found === undefined) return undefined;
    return message.TargetReport.fromPartial({ target, chainVersion: found[1], fencesHeld: found[2] });
  });
}

test('what the head of every chain has confirmed holds; who is not the head need not say anything', () => {
  const chains = [serving(3n, 1n, 2n), serving(4n, 3n, 2n)];
  expect(held(chains, [1n, 3n, 10n], [3n, 4n, 12n])).toBe(10n);
  expect(held(chains, [1n, 3n, 10n], [2n, 4n, 12n])).toBe(0n);
  expect(held(chains, [1n, 3n, 0n], [3n, 4n, 12n])).toBe(0n);
});

test('a report of an older version of the chain says nothing: another head may have left updates since', () => {
  expect(held([serving(3n, 1n)], [1n, 2n, 10n])).toBe(0n);
  expect(held([serving(3n, 1n)], [1n, 3n, 10n])).toBe(10n);
});

test('a chain that nobody serves confirms nothing, and one that never served holds up nobody', () => {
  const outage = chain(5n, [1n, PUBLIC_LASTSRV], [2n, PUBLIC_OFFLINE]);
  expect(held([outage], [1n, 5n, 10n])).toBe(0n);
  const never = { ...chain(1n, [4n, PUBLIC_OFFLINE]), last: [] };
  expect(held([never])).toBeUndefined();
  expect(held([never, serving(3n, 1n)], [1n, 3n, 7n])).toBe(7n);
});
