// These tests mount, so they say at once what is missing instead of failing one by one.
import { accessSync, constants } from 'node:fs';

export function setup(): void {
  if (process.getuid?.() !== 0) throw new Error('the cluster tests mount file systems: run them as root');
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    throw new Error('/dev/fuse is missing or closed: modprobe fuse, or give the container the device');
  }
}
