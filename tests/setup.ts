// These tests mount, make namespaces and loop devices, so they say at once what is missing instead of failing one
// by one.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';

const programs: [name: string, fromPackage: string][] = [
  ['ip', 'iproute2'],
  ['losetup', 'mount'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['nft', 'nftables'],
  ['nsenter', 'util-linux'],
  ['tc', 'iproute2'],
];

export function setup(): void {
  if (process.getuid?.() !== 0) throw new Error('the cluster tests mount file systems: run them as root');
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    throw new Error('/dev/fuse is missing or closed: modprobe fuse, or give the container the device');
  }
  try {
    accessSync('/dev/loop-control', constants.R_OK | constants.W_OK);
  } catch {
    throw new Error(
      '/dev/loop-control is missing or closed: modprobe loop, or give the container the device',
    );
  }
  const missing = programs.filter(([name]) => spawnSync('which', [name]).status !== 0);
  if (missing.length > 0) {
    const names = missing.map(([name]) => name).join(', ');
    const packages = missing.map(([, fromPackage]) => fromPackage).join(' ');
    throw new Error(`the fault tests need ${names}: apt-get install -y ${packages}`);
  }
  const built = spawnSync('cargo', ['build', '--quiet', '--release', '-p', 'witness'], {
    cwd: dirname(import.meta.dirname),
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (built.status !== 0) throw new Error('the programs of native/crates/witness were not built; see above');
}
