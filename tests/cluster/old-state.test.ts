// The manager's state is put back from a copy that is older than a move of all that one server had to a server that the
// copy does not even know: nothing is lost, and nobody has to do anything.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentOf } from './content.ts';
import { catena, RunningCluster } from './running-cluster.ts';

interface Chain {
  id: number;
  version: string;
  held: string | null;
  members: { target: string; node: number; state: string }[];
}

let cluster: RunningCluster;
const written = new Map<string, Buffer>();

beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

function run(...parameters: string[]): void {
  const done = catena(...parameters, '--dir', cluster.directory);
  expect(done.status, done.stdout + done.stderr + cluster.logs()).toBe(0);
}

function write(first: number): void {
  mkdirSync(join(cluster.mount, 'files'), { recursive: true });
  for (let seed = first; seed < first + 8; seed++) {
    const content = contentOf(seed, (seed * 1_234_567) % 3_000_000);
    const path = join(cluster.mount, 'files', String(seed));
    writeFileSync(path, content, { flush: true });
    written.set(path, content);
  }
}

function compare(): void {
  for (const [path, content] of written) expect(readFileSync(path).equals(content), path).toBe(true);
}

const placesOf = (chains: readonly Chain[] | undefined): string[] =>
  (chains ?? []).map(({ id, members }) => `${id}: ${members.map((member) => member.target).sort()}`);

test('a cluster goes on with an old copy of its manager, and every byte is there', async () => {
  write(1);
  const [state, copy] = [join(cluster.directory, 'manager'), join(cluster.directory, 'manager-copy')];
  cpSync(state, copy, { recursive: true });
  run('add', '--wait');
  run('drain', '1', '--wait');
  write(101);
  const before = await cluster.page<Chain[]>('chains');
  expect(before!.flatMap(({ members }) => members.map(({ node }) => node))).not.toContain(1);
  cluster.down();
  rmSync(state, { recursive: true });
  cpSync(copy, state, { recursive: true });
  cluster.up();
  compare();
  write(201);
  compare();
  const after = await cluster.page<Chain[]>('chains');
  expect(placesOf(after)).toEqual(placesOf(before));
  expect(after!.filter(({ held }) => held !== null)).toEqual([]);
  for (const [index, { version }] of after!.entries()) {
    expect(BigInt(version)).toBeGreaterThan(BigInt(before![index]!.version));
  }
  expect(cluster.events('manager').some(({ event }) => event === 'chain.frozen')).toBe(true);
});
