import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseValues } from '@catena/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ClusterDescription, createCluster, findCluster, moveMount } from './description.ts';
import {
  nextServer,
  requireServer,
  saveChangedServer,
  saveServer,
  withDisk,
  withDiskOrdered,
  withoutServer,
  withServer,
} from './servers.ts';

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

const setIn = (node: number, ...lines: string[]): void => {
  const path = join(cluster.directory, 'config', `storage-${node}.toml`);
  writeFileSync(path, `${readFileSync(path, 'utf8')}${lines.join('\n')}\n`);
};
const valuesOf = (node: number): Record<string, unknown> => parseValues(configOf(node), 'it');
const disksOf = (node: number): string[] => valuesOf(node).disks as string[];

test('a disk more keeps what was set in the configuration of its server', () => {
  setIn(2, 'media = ["direct"]', 'readThreads = 7', 'advertise = "storage.example:7412"');
  saveChangedServer(withDisk(cluster, 2), 2);
  expect(valuesOf(2)).toMatchObject({
    node: 2,
    media: ['direct'],
    readThreads: 7,
    advertise: 'storage.example:7412',
    domain: 'a',
  });
  expect(disksOf(2).map((disk) => basename(disk))).toEqual(['disk-0', 'disk-1']);
});

test('a medium for each disk: the new one gets that of the last; a directory elsewhere keeps its place', () => {
  saveChangedServer(withDisk(cluster, 1), 1);
  const path = join(cluster.directory, 'config', 'storage-1.toml');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"[^"]*disk-0"/, '"/fast/disk"'));
  setIn(1, 'media = [ # one a line', '  "buffered",', '  "direct" ]');
  const before = requireServer(findCluster(cluster.directory)!, 1);
  expect(before.disks).toBe(2);
  const after = withDisk(findCluster(cluster.directory)!, 1);
  saveChangedServer(after, 1);
  expect(disksOf(1)[0]).toBe('/fast/disk');
  expect(disksOf(1).map((disk) => basename(disk))).toEqual(['disk', 'disk-1', 'disk-2']);
  expect(valuesOf(1).media).toEqual(['buffered', 'direct', 'direct']);
});

test('a configuration that cannot be read is not written anew, and a new server begins with its own', () => {
  setIn(2, 'media = [');
  const before = configOf(2);
  expect(() => saveChangedServer(withDisk(cluster, 2), 2)).toThrow(/storage-2.toml:\d+:\d+: /);
  expect(configOf(2)).toBe(before);
  expect(requireServer(findCluster(cluster.directory)!, 2).disks).toBeUndefined();
  saveServer(withServer(withoutServer(cluster, 2), 2), 2);
  expect([valuesOf(2).media, valuesOf(2).domain, disksOf(2).length]).toEqual([undefined, undefined, 1]);
});

test('a mount that moves keeps what was set in its configuration', () => {
  const path = join(cluster.directory, 'config', 'mount.toml');
  writeFileSync(path, `${readFileSync(path, 'utf8')}cache = "none"\n`);
  moveMount(cluster, join(folder, 'elsewhere'));
  const moved = parseValues(readFileSync(path, 'utf8'), 'it');
  expect(moved).toMatchObject({ cache: 'none', mountpoint: join(folder, 'elsewhere') });
});

test('a disk more is pending until it is ordered', () => {
  saveChangedServer(withDisk(cluster, 2), 2);
  const begun = findCluster(cluster.directory)!;
  expect(requireServer(begun, 2)).toMatchObject({ disks: 2, isDiskPending: true });
  const { isDiskPending, ...ordered } = requireServer(begun, 2);
  expect(requireServer(withDiskOrdered(begun, 2), 2)).toEqual(ordered);
});

test('a disk more is one directory more in the configuration', () => {
  saveChangedServer(withDisk(withDisk(cluster, 3), 3), 3);
  expect(requireServer(findCluster(cluster.directory)!, 3).disks).toBe(3);
  expect(configOf(3)).toMatch(/disk-0","[^"]*disk-1","[^"]*disk-2"\]/);
  expect(configOf(2)).not.toMatch(/disk-1/);
});
