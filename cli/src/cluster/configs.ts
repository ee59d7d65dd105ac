// The configuration files of a one-machine cluster. Only what differs from the defaults is written;
// `--print-config` of a service shows every key with its reason.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseValues } from '@catena/core';
import type { ClusterDescription, ProcessSpec } from './description.ts';
import { managersOf } from './managers.ts';

export interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

type Values = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** One file for each new process. */
export function renderConfigs(cluster: ClusterDescription): ConfigFile[] {
  return cluster.processes.map((spec) => ({
    path: spec.configPath,
    text: render(spec, valuesOf(spec, cluster)),
  }));
}

/** The file of a process that has one, with what its description says now; what else was set there stays. */
export function renewConfig(spec: ProcessSpec, cluster: ClusterDescription): ConfigFile {
  const path = spec.configPath;
  const given = readValues(path);
  const ours = valuesOf(spec, cluster);
  const values =
    spec.role === 'storage' ? { ...given, ...ours, ...keptDisks(given, ours) } : { ...given, ...ours };
  return { path, text: render(spec, values) };
}

/** Nothing, if the file is gone. */
function readValues(path: string): Values {
  return existsSync(path) ? (parseValues(readFileSync(path, 'utf8'), path) as Values) : {};
}

/** Directories that were named there keep their places; a list of a medium for each gets that of the last for new ones. */
function keptDisks(given: Values, ours: Values): Values {
  const listOf = (values: Values, key: string): readonly string[] => {
    const value = values[key];
    return Array.isArray(value) ? value.map(String) : [];
  };
  const [had, wanted, media] = [listOf(given, 'disks'), listOf(ours, 'disks'), listOf(given, 'media')];
  const disks = wanted.map((disk, index) => had[index] ?? disk);
  const isForEach = media.length > 1;
  return {
    disks,
    ...(isForEach ? { media: disks.map((_, index) => media[index] ?? media.at(-1) ?? '') } : {}),
  };
}

function valuesOf(spec: ProcessSpec, cluster: ClusterDescription): Values {
  const { directory, name, etcd, mountpoint } = cluster;
  const managers = managersOf(cluster);
  const shared = { cluster: name, http: spec.http };
  switch (spec.role) {
    case 'manager':
      return {
        ...shared,
        listen: spec.address ?? '',
        ...(etcd === undefined
          ? { stateDirectory: join(directory, 'manager') }
          : { etcd, etcdPrefix: `catena/${name}` }),
      };
    case 'meta':
      return {
        ...shared,
        node: spec.node,
        listen: spec.address ?? '',
        managers,
        stateDirectory: join(directory, 'meta'),
      };
    case 'storage':
      return {
        ...shared,
        node: spec.node,
        listen: spec.address ?? '',
        managers,
        disks: disksOf(spec).map((disk) => join(directory, spec.name, disk)),
        ...(spec.domain === undefined ? {} : { domain: spec.domain }),
      };
    case 'mount':
      return { ...shared, managers, mountpoint: mountpoint ?? '' };
  }
}

function disksOf(spec: ProcessSpec): string[] {
  return Array.from({ length: spec.disks ?? 1 }, (_, disk) => `disk-${disk}`);
}

function render(spec: ProcessSpec, values: Values): string {
  const lines = Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return `# ${spec.name}: every key with its default, unit and reason: catena ${spec.role} --config THIS --print-config\n${lines.join('\n')}\n`;
}
