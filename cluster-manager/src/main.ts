// The process of the cluster manager, and `init`, which makes the first state of a cluster.
import { runService } from '@catena/core';
import { bootClockMs, nextChain } from '@catena/native';
import { checkManagerConfig, managerConfigSchema } from './config.ts';
import { runInit } from './init.ts';
import { startManager } from './service.ts';

const args = process.argv.slice(2);
if (args[0] === 'init') {
  await runInit(args.slice(1));
} else {
  await runService(
    {
      name: 'cluster-manager',
      schema: managerConfigSchema,
      bootMs: bootClockMs,
      check: checkManagerConfig,
      start: (config, context) => startManager(config, context, nextChain),
    },
    args,
  );
}
