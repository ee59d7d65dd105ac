// catena manager | meta | storage | mount: one service in the foreground, from its configuration file.
import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import type { Role } from '../cluster/description.ts';
import { mainOf } from '../cluster/mains.ts';

const services: readonly [Role, string][] = [
  ['manager', 'the cluster manager'],
  ['meta', 'the metadata service'],
  ['storage', 'a storage server'],
  ['mount', 'a mount'],
];

export function addServices(program: Command): void {
  for (const [role, sentence] of services) {
    program
      .command(role)
      .description(
        `run ${sentence} in the foreground; arguments go to it (--config FILE, --check-config, --print-config)`,
      )
      .allowUnknownOption()
      .argument('[arguments...]')
      .action(async (rest: string[]) => {
        process.exitCode = await runInPlace(mainOf(role), rest);
      });
  }
}

/** Runs another main file as if it were this process: its streams, signals and exit code. */
function runInPlace(main: string, rest: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [main, ...rest], { stdio: 'inherit' });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => child.kill(name));
  return new Promise((resolve) => {
    child.once('exit', (code, name) => resolve(code ?? (name === null ? 1 : 128)));
  });
}
