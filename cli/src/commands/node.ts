// catena node: the supervisor of this host in the foreground, for systemd and for `up -d` (P28).
import { bootMsFromProc, createLogger, realClock } from '@catena/core';
import type { Command } from 'commander';
import { requireCluster } from '../cluster/description.ts';
import { inTurn } from '../cluster/turn.ts';
import { Supervisor } from '../supervisor/supervisor.ts';
import { directoryOption } from './options.ts';
import { untilInterrupted } from './up.ts';

export function addNode(program: Command): void {
  program
    .command('node')
    .description("supervise this host's processes in the foreground: start, restart, stop")
    .option(...directoryOption)
    .action(async (options: { dir: string }) => {
      const logger = createLogger({ process: 'supervisor', clock: realClock(bootMsFromProc) });
      const supervisor = await inTurn(options.dir, () => {
        const begun = new Supervisor(requireCluster(options.dir), logger);
        begun.start();
        return begun;
      });
      await untilInterrupted();
      await supervisor.stop();
    });
}
