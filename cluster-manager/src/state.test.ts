import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FsError, featureLevel, message } from '@catena/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hasState, loadState, openStateStore, recordVersion } from './state.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'catena-state-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const record = message.ManagerRecord.fromPartial({
  recordVersion,
  featureLevel,
  cluster: 'c',
  routingVersion: 7n,
  chains: [{ id: 1, version: 3n, last: [5n] }],
  clients: [Buffer.alloc(16, 1)],
});

async function codeOf(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
  return 'OK';
}

test('what was saved last is what is loaded', async () => {
  expect(hasState(directory)).toBe(false);
  expect(await codeOf(() => loadState(directory))).toBe('BAD_CONFIG');
  const store = openStateStore(directory);
  await store.save({
    ...record,
    routingVersion: 6n,
    cluster: 'a much longer name than the one that replaces it',
  });
  await store.save(record);
  expect(loadState(directory)).toEqual(record);
});

test('a save that did not end leaves the old state', async () => {
  await openStateStore(directory).save(record);
  writeFileSync(join(directory, 'state.new'), 'half of a new st');
  expect(loadState(directory)).toEqual(record);
  await openStateStore(directory).save({ ...record, routingVersion: 8n });
  expect(loadState(directory).routingVersion).toBe(8n);
});

test('every flipped byte and every cut is noticed', async () => {
  await openStateStore(directory).save(record);
  const path = join(directory, 'state');
  const good = readFileSync(path);
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1;
    writeFileSync(path, bad);
    expect(await codeOf(() => loadState(directory)), `byte ${at}`).toBe('CORRUPT');
    writeFileSync(path, good.subarray(0, at));
    expect(await codeOf(() => loadState(directory)), `cut at ${at}`).toBe('CORRUPT');
  }
});

test('a state of a newer release is refused (P27)', async () => {
  await openStateStore(directory).save({ ...record, recordVersion: recordVersion + 1 });
  expect(await codeOf(() => loadState(directory))).toBe('NEWER_DATA');
  await openStateStore(directory).save({ ...record, featureLevel: featureLevel + 1 });
  expect(await codeOf(() => loadState(directory))).toBe('NEWER_DATA');
});

test('a state that cannot be written is an error, and the old one stays', async () => {
  await openStateStore(directory).save(record);
  const elsewhere = openStateStore(join(directory, 'no such folder'));
  expect(await codeOf(() => elsewhere.save(record))).toBe('NOT_FOUND');
  expect(loadState(directory)).toEqual(record);
});

test('the state of a release whose tables had one version is read as such, and may grow', async () => {
  // Two nodes with one disk of two targets each, and two copies, as the release at feature level 1 stored them.
  const stored =
    'Q01UU2EAAADlDldVCAESA29sZBgBIAEqBAgBWAEqBAgCWAEyHggBEAEaBgjBhD0QARoGCIGJehACIAEqBsGEPYGJejIeCAIQARoGCIKJehAC' +
    'GgYIwoQ9EAEgASoGgol6woQ9OggIARABGgIBAg==';
  writeFileSync(join(directory, 'state'), Buffer.from(stored, 'base64'));
  const record = loadState(directory);
  expect(record).toMatchObject({ cluster: 'old', featureLevel: 1, targetsPerDisk: 0 });
  expect(record.tables).toEqual([{ id: 1, version: 1, chains: [1, 2], lengths: [] }]);
  const tables = [{ id: 1, version: 2, chains: [1, 2, 3], lengths: [2] }];
  await openStateStore(directory).save({ ...record, tables });
  expect(loadState(directory)).toEqual({ ...record, tables });
});
