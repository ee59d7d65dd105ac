// The product's manager decides as the one that the simulator runs (P1-P4, P10, R3): worlds of the simulator are
// told to it, and every decision is compared; and each rule that is broken in it is found so.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Manager } from './manager.ts';
import { planted } from './testing/planted.ts';
import { Difference, type Step, Twin, type World } from './testing/twin.ts';

const seeds = 240;
/** All of the worlds together. */
const traceBytesMax = 512 * 1024 * 1024;
/** Some ten seconds of a core; a busy machine needs many times that, and may have to build the simulator first. */
const timeoutMs = 900_000;

let worlds: readonly (readonly string[])[];

beforeAll(() => {
  const words = ['manager-trace', '--seeds', `0..${seeds}`];
  const { status, stdout, stderr } = spawnSync(
    'cargo',
    ['run', '--quiet', '--release', '-p', 'sim', '--', ...words],
    { cwd: dirname(dirname(import.meta.dirname)), maxBuffer: traceBytesMax, encoding: 'utf8' },
  );
  expect([status, stderr], 'no trace of the simulator').toEqual([0, '']);
  worlds = worldsOf(stdout);
}, timeoutMs);

/** Each begins with the line that describes it. */
function worldsOf(text: string): string[][] {
  const worlds: string[][] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('{"seed"')) worlds.push([]);
    if (line !== '') worlds.at(-1)!.push(line);
  }
  return worlds;
}

async function replay(lines: readonly string[], Tested?: typeof Manager): Promise<Twin> {
  const twin = new Twin(JSON.parse(lines[0]!) as World, Tested);
  for (const line of lines.slice(1)) await twin.step(JSON.parse(line) as Step);
  return twin;
}

test('in every world of the simulator both managers decide the same', { timeout: timeoutMs }, async () => {
  expect(worlds.length).toBe(seeds);
  const counts = new Map<string, number>();
  const add = (what: string, count: number): unknown => counts.set(what, (counts.get(what) ?? 0) + count);
  for (const lines of worlds) {
    const { profile, chains } = JSON.parse(lines[0]!) as World;
    add(profile, 1);
    add('several chains', chains.length > 1 ? 1 : 0);
    const twin = await replay(lines);
    for (const [what, count] of twin.counts) add(what, count);
    add('change of a chain', lines.filter((line) => line.includes('"chains":')).length - 1);
  }
  // What a comparison says nothing of unless it was there.
  const least: Record<string, number> = {
    ...{ General: 5, Resync: 5, Promotion: 5, Leases: 5, Manager: 5, Outage: 5 },
    ...{ Fencing: 5, Network: 5, Removals: 5, Truncations: 5, Change: 5, Reordering: 5, Blackout: 5 },
    ...{ start: seeds + 50, tick: 1_000, heartbeat: 10_000, 'refused heartbeat': 500, registration: 1_000 },
    ...{ exit: 100, 'give-back': 50, suspect: 100, order: 50, pause: 100 },
    ...{ register: 50, fence: 50, expiry: 20, 'client-heartbeat': 1_000, 'refused client-heartbeat': 50 },
    ...{ 'set-back': 5, 'several chains': 30 },
    ...{ 'change of a chain': 2_000, 'next chain': 5_000, 'fence holds': 50 },
  };
  const missing = Object.entries(least).filter(([what, count]) => (counts.get(what) ?? 0) < count);
  expect(missing.map(([what]) => `${what}: ${counts.get(what) ?? 0}`)).toEqual([]);
});

test.each(Object.keys(planted))('it is noticed when %s', { timeout: timeoutMs }, async (name) => {
  const path = `./manager.ts?planted=${encodeURIComponent(name)}`;
  const copy = (await import(/* @vite-ignore */ path)) as { Manager: typeof Manager };
  await expect(
    (async () => {
      for (const lines of worlds) await replay(lines, copy.Manager);
    })(),
  ).rejects.toBeInstanceOf(Difference);
});
