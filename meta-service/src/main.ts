// The metadata service as a process: names over rpc, figures over http, a tie to the manager, chunk work
// through the native client. Decides nothing; everything is in the rooms beside it.

import { runService } from '@catena/core';
import { bootClockMs } from '@catena/native';
import { checkConfig, metaSchema } from './config.ts';
import { startMetaService } from './server/service.ts';

await runService({
  name: 'meta-service',
  schema: metaSchema,
  bootMs: bootClockMs,
  check: checkConfig,
  start: startMetaService,
});
