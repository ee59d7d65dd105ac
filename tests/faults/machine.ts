// What a test takes from this machine below a cluster, and gives back whatever happens: loop devices, mounts,
// and a mount namespace in which the machine seems to have booted anew.
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Program } from './program.ts';

/** Runs a command of the system; an error with its words if it fails. Answers what it printed. */
export function command(...words: readonly string[]): string {
  const [program = '', ...parameters] = words;
  const done = spawnSync(program, parameters, { encoding: 'utf8', timeout: 120_000, maxBuffer: 64 << 20 });
  if (done.status !== 0)
    throw new Error(`${words.join(' ')}: ${done.error ?? ''}${done.stdout}${done.stderr}`);
  return done.stdout.trim();
}

/** The same for a command that may fail. */
export function tryCommand(...words: readonly string[]): { status: number | null; said: string } {
  const [program = '', ...parameters] = words;
  const done = spawnSync(program, parameters, { encoding: 'utf8', timeout: 120_000, maxBuffer: 64 << 20 });
  return { status: done.status, said: `${done.stdout}${done.stderr}` };
}

/** Not so if it is only waited for; while one of its threads ends, it still holds its files. */
export function isRunning(pid: number): boolean {
  try {
    const isOver = /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return !isOver || readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false;
  }
}

/** All of its threads stand: right after the signal, on a busy machine, some of them go on for a while. */
export function isStopped(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.every((thread) =>
    /^State:\s+T/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')),
  );
}

/** Takes all that is left of the file system: large pieces, then small ones. */
export function fill(path: string): void {
  const fd = openSync(path, 'a');
  try {
    for (const pieceBytes of [2 ** 20, 4096]) {
      const piece = Buffer.alloc(pieceBytes, 1);
      try {
        for (;;) writeSync(fd, piece);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(fd);
  }
}

/** What the last user of a device still has to write. */
const detachMs = 20_000;

/** A local file system on a file, through a loop device. */
export class LoopFileSystem {
  readonly path: string;
  readonly #backing: string;
  readonly #device: string;

  private constructor(path: string, backing: string, device: string) {
    this.path = path;
    this.#backing = backing;
    this.#device = device;
  }

  /** `make`: an ext4 is made on it first. */
  static mount(backing: string, path: string, make: boolean): LoopFileSystem {
    mkdirSync(path, { recursive: true });
    const device = command('losetup', '--find', '--show', backing);
    try {
      if (make) command('mkfs.ext4', '-q', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', device);
      command('mount', '-t', 'ext4', '-o', 'nodiscard', device, path);
    } catch (error) {
      command('losetup', '--detach', device);
      throw error;
    }
    return new LoopFileSystem(path, backing, device);
  }

  /** Returns when the device is gone: a namespace that ends lets go of the mount a little later. */
  async unmount(): Promise<void> {
    const done = spawnSync('umount', [this.path], { encoding: 'utf8' });
    if (done.status !== 0) spawnSync('umount', ['-l', this.path]);
    command('losetup', '--detach', this.#device);
    const deadline = performance.now() + detachMs;
    while (command('losetup', '--associated', this.#backing) !== '') {
      if (performance.now() > deadline) throw new Error(`${this.#device} stays attached to ${this.#backing}`);
      await sleep(20);
    }
    if (done.status !== 0) throw new Error(`${this.path} was in use at the end: ${done.stderr}`);
  }
}

/** Lets go of the mounts of others, which a namespace holds from then on: whoever made one could not end it. */
const bootScript = `
  own=$0
  while read -r _ path _; do
    case $path in "$own"/*) ;; "\${own%/*}"/*) umount -l "$path" ;; esac
  done < /proc/self/mounts
  mount --bind "$own/boot-id" /proc/sys/kernel/random/boot_id && echo booted && exec cat`;

/** A mount namespace whose boot id is its own: what runs in it believes that the machine has booted (P10). */
export class Boot {
  readonly #holder: Program;

  private constructor(holder: Program) {
    this.#holder = holder;
  }

  /** `folder`: what is mounted below it stays; it lies beside those of the other tests. */
  static async start(folder: string): Promise<Boot> {
    writeFileSync(join(folder, 'boot-id'), `${randomUUID()}\n`);
    const alone = ['unshare', '--mount', '--propagation', 'slave'];
    const holder = new Program('boot', [...alone, 'sh', '-c', bootScript, folder]);
    await holder.until('booted');
    return new Boot(holder);
  }

  /** The words that run a command in it. */
  run(...words: readonly string[]): string[] {
    return ['nsenter', '--mount', '--target', String(this.#holder.pid), '--', ...words];
  }

  async end(): Promise<void> {
    this.#holder.signal('SIGKILL');
    await this.#holder.ended;
  }
}
