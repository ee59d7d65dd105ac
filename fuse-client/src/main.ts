// The process of a mount.
import { runService } from '@catena/core';
import { bootClockMs } from '@catena/native';
import { checkMountConfig, mountConfigSchema } from './config.ts';
import { startMount } from './service.ts';

await runService({
  name: 'fuse-client',
  schema: mountConfigSchema,
  bootMs: bootClockMs,
  check: checkMountConfig,
  start: startMount,
});
