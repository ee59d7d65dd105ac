// The configuration files of a one-machine cluster. Only what differs from the defaults is written;
// `--print-config` of a service shows every key with its reason.
import { join } from 'node:path';
import type { ClusterDescription, ProcessSpec } from './description.ts';
import { managersOf } from './managers.ts';

interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

type Values = Readonly<Record<string, string | number | readonly string[]>>;

/** One file per process. */
export function renderConfigs(cluster: ClusterDescription): ConfigFile[] {
  return cluster.processes.map((spec) => ({
    path: spec.configPath,
    text: render(spec, valuesOf(spec, cluster)),
  }));
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
