import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ClusterDescription, ProcessSpec } from '../cluster/description.ts';
import { findRefusal, forgetRefusals, noteRefusal } from './refusal.ts';

const meta = { name: 'meta', role: 'meta' } as ProcessSpec;
let cluster: ClusterDescription;
beforeEach(() => {
  const directory = mkdtempSync(join(tmpdir(), 'catena-refusal-'));
  for (const folder of ['run', 'logs']) mkdirSync(join(directory, folder));
  cluster = { directory, processes: [meta] as readonly ProcessSpec[] } as ClusterDescription;
});
afterEach(() => rmSync(cluster.directory, { recursive: true }));

test('a refusal is the last line that the process wrote, until it is forgotten', () => {
  expect(findRefusal(cluster)).toBeUndefined();
  writeFileSync(join(cluster.directory, 'logs/meta.log'), 'first\nmeta: no such key\n');
  noteRefusal(cluster, meta);
  expect(findRefusal(cluster)).toBe('meta refused to start: meta: no such key');
  forgetRefusals(cluster);
  expect(findRefusal(cluster)).toBeUndefined();
});

test('one whose reason found no room on the disk names the log', () => {
  writeFileSync(join(cluster.directory, 'run/meta.refused'), '');
  expect(findRefusal(cluster)).toBe(`meta refused to start: see ${join(cluster.directory, 'logs/meta.log')}`);
});
