import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeOf } from './changes.ts';
import { type ClusterDescription, createCluster, findCluster } from './description.ts';
import { nextServer, requireServer, saveServer, withDisk, withoutServer, withServer } from './servers.ts';

let folder: string;
let cluster: ClusterDescription;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'catena-servers-'));
  const shape = { basePort: 7400, nodes: 3, replicas: 3, targetsPerDisk: 4, domains: ['a', 'a', 'b'] };
  mkdirSync(folder, { recursive: true });
  cluster = createCluster({ directory: join(folder, 'cluster'), mountpoint: join(folder, 'mnt'), ...shape });
});
afterEach(() => rmSync(folder, { recursive: true }));

const configOf = (node: number): string =>
  readFileSync(join(cluster.directory, 'config', `storage-${node}.toml`), 'utf8');

test('a server more has ports, files and a place in the description that no other has', () => {
  expect(nextServer(cluster)).toBe(4);
  saveServer(withServer(cluster, 4, 'rack 9'), 4);
  const grown = findCluster(cluster.directory)!;
  expect(requireServer(grown, 4)).toMatchObject({
    name: 'storage-4',
    address: '127.0.0.1:7414',
    domain: 'rack 9',
  });
  const addresses = grown.processes
    .flatMap((spec) => [spec.address, spec.http])
    .filter((one) => one !== undefined);
  expect(new Set(addresses).size).toBe(addresses.length);
  expect(configOf(4)).toMatch(/node = 4\n[\s\S]*disk-0"\]\ndomain = "rack 9"/);
  expect(configOf(1)).toMatch(/domain = "a"/);
});

test('numbers of removed servers are free again, and all of them are bounded', () => {
  const fewer = withoutServer(cluster, 2);
  expect(nextServer(fewer)).toBe(2);
  expect(() => withoutServer(fewer, 2)).toThrow(
    /no storage server 2 on this machine; there are storage-1, storage-3/,
  );
  let full = cluster;
  for (let node = 4; node <= 9; node++) full = withServer(full, node);
  expect(() => nextServer(full)).toThrow(/9 storage servers at most/);
});

test('a disk more is one directory more in the configuration', () => {
  saveServer(withDisk(withDisk(cluster, 3), 3), 3);
  expect(requireServer(findCluster(cluster.directory)!, 3).disks).toBe(3);
  expect(configOf(3)).toMatch(/disk-0","[^"]*disk-1","[^"]*disk-2"\]/);
  expect(configOf(2)).not.toMatch(/disk-1/);
});

test('a node is named by its number or its name', () => {
  expect([nodeOf('2'), nodeOf('storage-12')]).toEqual([2, 12]);
  for (const wrong of ['', 'meta', 'storage-', '-1', '2.5', 'storage-2x']) {
    expect(() => nodeOf(wrong)).toThrow(/names no storage node/);
  }
});
