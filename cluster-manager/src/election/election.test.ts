// The role on a real etcd (Debian's etcd-server), with the real thread that renews it (built by `tsc -b`).
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, Etcd, realClock, realRandom, silentLogger, sleep } from '@catena/core';
import { bootClockMs } from '@catena/native';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Candidate } from './candidate.ts';
import { Renewal } from './renewal.ts';
import { type TakenRole, takeRole } from './role.ts';

const clock: Clock = realClock(bootClockMs);
const folder = mkdtempSync(join(tmpdir(), 'catena-election-'));
const port = 31_000 + (process.pid % 900);
const url = `http://127.0.0.1:${port}`;
const workerUrl = new URL('../../dist/election/renewal-worker.js', import.meta.url);
let server: ChildProcess;
let etcd: Etcd;

beforeAll(async () => {
  const peer = `http://127.0.0.1:${port + 1000}`;
  const options = [
    ['--data-dir', folder],
    ['--listen-client-urls', url],
    ['--advertise-client-urls', url],
    ['--listen-peer-urls', peer],
    ['--initial-advertise-peer-urls', peer],
    ['--initial-cluster', `default=${peer}`],
  ];
  server = spawn('etcd', options.flat(), { stdio: 'ignore' });
  etcd = await Etcd.open([url], clock);
  while (
    await etcd.get(Buffer.from('x')).then(
      () => false,
      () => true,
    )
  )
    await sleep(clock, 50);
}, 60_000);
afterAll(() => {
  etcd?.close();
  server?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const options = (prefix: string, address: string) => ({
  etcd,
  prefix,
  address,
  clock,
  random: realRandom,
  log: silentLogger,
});
const isTaken = (outcome: object): outcome is TakenRole => 'fence' in outcome;

test('of many that want it at once one gets it, and the others hear who', async () => {
  const outcomes = await Promise.all(
    Array.from({ length: 8 }, (_, index) => takeRole(options('many', `m${index}:1`))),
  );
  const winners = outcomes.flatMap((outcome, index) => (isTaken(outcome) ? [index] : []));
  expect(winners).toHaveLength(1);
  expect(await takeRole(options('many', 'late:1'))).toEqual({ leader: `m${winners[0]}:1` });
});

test('renewed it lasts; when the main loop is stuck it ends by itself, and the next one has a newer revision', async () => {
  const stop = new AbortController();
  const renewal = await Renewal.start([url], clock, workerUrl);
  const role = await takeRole(options('renewed', 'first:1'));
  if (!isTaken(role)) throw new Error('the role was free');
  renewal.hold(role);
  const second = new Candidate(options('renewed', 'second:1'));
  const won = second.win(stop.signal);
  try {
    const longAfter = role.validUntilMs + 3_000;
    while (clock.nowMs() < longAfter) {
      renewal.beat();
      expect(renewal.isValid).toBe(true);
      await sleep(clock, 100);
    }
    expect(second.leader).toBe('first:1');
    // No beat any more, as if the main loop were stuck: valid on our clock never outlasts the key in etcd.
    let wasValid = renewal.isValid;
    while (wasValid) {
      const before = renewal.isValid;
      const entry = await etcd.get(role.fence.key);
      if (renewal.isValid) expect(entry?.revision).toBe(role.fence.revision);
      wasValid = before;
    }
    const next = await won;
    expect(next!.fence.revision).toBeGreaterThan(role.fence.revision);
    expect(renewal.isValid).toBe(false);
    renewal.beat();
    await sleep(clock, 1_500);
    expect(renewal.isValid, 'it does not come back').toBe(false);
  } finally {
    stop.abort();
    await renewal.stop();
    await won;
  }
});

test('a role that was given back is free at once, and stays invalid here', async () => {
  const renewal = await Renewal.start([url], clock, workerUrl);
  expect(renewal.isValid).toBe(false);
  const role = await takeRole(options('given', 'first:1'));
  if (!isTaken(role)) throw new Error('the role was free');
  renewal.hold(role);
  expect(renewal.isValid).toBe(true);
  await renewal.stop();
  expect(renewal.isValid).toBe(false);
  await etcd.revokeLease(role.lease);
  expect(isTaken(await takeRole(options('given', 'second:1')))).toBe(true);
});
