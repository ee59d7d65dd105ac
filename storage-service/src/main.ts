// The process of a storage node.
import { runService } from '@catena/core';
import { bootClockMs, startNativeLog } from '@catena/native';
import { checkStorageConfig, storageConfigSchema } from './config.ts';
import { startStorage } from './service.ts';

await runService({
  name: 'storage-service',
  schema: storageConfigSchema,
  bootMs: bootClockMs,
  check: checkStorageConfig,
  start: (config, context) => {
    startNativeLog('storage-service');
    return startStorage(config, context);
  },
});
