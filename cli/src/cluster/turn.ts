// One command at a time makes, starts or changes the cluster of a folder; others wait for their turn. A name of an
// abstract socket is held: the kernel takes it back when its process ends, however it ends, and it leaves no file.
import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FsError, fromSystemError } from '@catena/core';

/** Longer than the longest turn: `add --disk` waits 60 s for a server that restarts. */
const patienceMs = 120_000;
const pollMs = 50;

/**
 * Runs `act` while no other command of this machine (of this network namespace, exactly) has its turn with that folder,
 * which need not exist yet. ALREADY_RUNNING if another one does not end its turn in two minutes.
 */
export async function inTurn<Result>(
  directory: string,
  act: () => Result | Promise<Result>,
): Promise<Result> {
  const turn = await take(directory);
  try {
    return await act();
  } finally {
    await new Promise((resolve) => turn.close(resolve));
  }
}

async function take(directory: string): Promise<Server> {
  const name = nameOf(directory);
  for (const deadline = performance.now() + patienceMs; ; await sleep(pollMs)) {
    const turn = await tryTake(name);
    if (turn !== undefined) return turn;
    if (performance.now() > deadline) {
      throw new FsError(
        'ALREADY_RUNNING',
        `another catena command is changing the cluster in ${resolve(directory)}; wait for it, or end it`,
      );
    }
  }
}

function tryTake(name: string): Promise<Server | undefined> {
  return new Promise((taken, failed) => {
    const turn = createServer((stranger) => stranger.destroy());
    turn.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') taken(undefined);
      else failed(fromSystemError(error, 'waiting for the turn of this command'));
    });
    turn.listen(name, () => taken(turn));
  });
}

/** The same for every way to write the path of a folder. */
function nameOf(directory: string): string {
  const path = resolve(directory);
  let known = path;
  while (!existsSync(known)) known = dirname(known);
  const real = join(realpathSync(known), relative(known, path));
  return `\0catena-turn-${createHash('sha256').update(real).digest('hex').slice(0, 32)}`;
}
