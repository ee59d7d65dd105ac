// Where the main files of the services are. The command line starts services as processes and never imports
// them.
import { dirname, join } from 'node:path';
import type { Role } from './description.ts';

/** The checkout's root: this file is cli/dist/cluster/mains.js. */
export const root: string = dirname(dirname(dirname(import.meta.dirname)));

const folders: Record<Role, string> = {
  manager: 'cluster-manager',
  meta: 'meta-service',
  storage: 'storage-service',
  mount: 'fuse-client',
};

export function mainOf(role: Role): string {
  return join(root, folders[role], 'dist/main.js');
}
