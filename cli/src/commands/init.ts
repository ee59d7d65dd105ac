// catena init: makes a cluster's folder, configuration and first state, and starts nothing.

import { FsError } from '@catena/core';
import type { Command } from 'commander';
import { findCluster } from '../cluster/description.ts';
import { prepareCluster } from '../cluster/start.ts';
import { addClusterOptions, clusterOptionsOf, type UpOptions } from './up.ts';

export function addInit(program: Command): void {
  addClusterOptions(
    program.command('init').description('make the cluster of a folder and start nothing'),
  ).action(async (options: UpOptions) => {
    if (findCluster(options.dir) !== undefined) {
      throw new FsError('EXISTS', `${options.dir} holds a cluster already; use another --dir`);
    }
    const cluster = await prepareCluster(clusterOptionsOf(options));
    console.log(
      `made ${cluster.name} in ${cluster.directory}; start it with: catena up --dir ${options.dir}`,
    );
  });
}
