// A whole machine whose power is cut: a cluster of one copy (nothing else could bring a lost byte back), with the
// manager's, the metadata service's and the storage server's files on one ext4, on a disk that remembers every
// write and flush. A run is recorded once; each cut makes the disk as it could be found after a loss of power at
// that moment, boots, and looks for what fsync promised before it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logsOf, root } from '../cluster/running-cluster.ts';
import { Boot, command, LoopFileSystem } from './machine.ts';
import { findings, Program, witness, witnessWords } from './program.ts';

const diskBytes = 2 ** 31;

export interface CutOptions {
  /** Draws the moment, and what of the unflushed writes is there. */
  readonly seed: number;
  /** Flushes within so long before the cut did nothing. */
  readonly flushesIgnoredNs?: bigint;
}

/** What a boot after a cut found. */
export interface AfterCut {
  readonly promises: number;
  readonly blocks: number;
  /** Blocks that hold parts of what was promised and of a write that was begun after it. */
  readonly torn: number;
  /** In words; empty if every promise was kept and all copies verified. */
  readonly failures: readonly string[];
  readonly disk: {
    readonly atNs: string;
    readonly flushed: number;
    readonly kept: number;
    readonly lost: number;
  };
}

export class PowerRig {
  readonly #folder = mkdtempSync(join(tmpdir(), 'catena-power-'));
  readonly #basePort: number;
  #undo: (() => Promise<void> | void)[] = [];
  #startNs = 0n;
  #endNs = 0n;

  constructor(basePort: number) {
    this.#basePort = basePort;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** Runs the cluster under load for that long, and records what its disk was told. */
  async record(seed: number, seconds: number): Promise<void> {
    mkdirSync(this.#path('disk'));
    const files = { mount: this.#path('disk'), image: this.#path('image'), log: this.#path('log') };
    const disk = witness('disk', { ...files, bytes: diskBytes });
    this.#undo.push(async () => {
      disk.endInput();
      await disk.ended;
    });
    await disk.until('mounted');
    const fileSystem = LoopFileSystem.mount(join(files.mount, 'disk'), this.#path('fs'), true);
    this.#undo.push(() => fileSystem.unmount());
    const boot = await this.#boot();
    const writing = { folder: this.#path('mnt'), log: this.#path('promises'), seed, lanes: 4, seconds };
    this.#startNs = bootNs();
    await findings(new Program('promises', boot.run(...witnessWords('promises', writing))));
    this.#endNs = bootNs();
    await this.#crash();
    rmSync(this.#path('image'));
  }

  /** Cuts the power at a moment of the recorded run, boots and looks. */
  async cut(options: CutOptions): Promise<AfterCut> {
    const image = this.#path('cut');
    rmSync(image, { force: true });
    const made = witness('cut', {
      log: this.#path('log'),
      image,
      bytes: diskBytes,
      'from-ns': String(this.#startNs),
      'to-ns': String(this.#endNs),
      seed: options.seed,
      'flushes-ignored-ns': String(options.flushesIgnoredNs ?? 0n),
    });
    const disk = await findings<AfterCut['disk']>(made);
    const nothing = { promises: 0, blocks: 0, torn: 0, disk };
    try {
      const fileSystem = LoopFileSystem.mount(image, this.#path('fs'), false);
      this.#undo.push(() => fileSystem.unmount());
      const boot = await this.#boot();
      const check = {
        folder: this.#path('mnt'),
        log: this.#path('promises'),
        'cut-ns': disk.atNs,
      };
      const kept = await findings<Omit<AfterCut, 'disk'>>(
        new Program('promises-check', boot.run(...witnessWords('promises-check', check))),
      );
      const verified = spawnSync(join(root, 'catena'), ['verify', '--dir', this.#path('fs/cluster')], {
        encoding: 'utf8',
      });
      const failures = [...kept.failures];
      if (verified.status !== 0) failures.push(`verify: ${verified.stdout}${verified.stderr}`);
      if (failures.length > 0) failures.push(this.#evidence(boot));
      return { ...kept, failures, disk };
    } catch (error) {
      return { ...nothing, failures: [String(error), logsOf(this.#path('fs/cluster'))] };
    } finally {
      await this.#crash();
    }
  }

  /** What a failed cut leaves for its reader. */
  #evidence(boot: Boot): string {
    const [program = '', ...parameters] = boot.run(
      'sh',
      '-c',
      'grep catena /proc/self/mountinfo; ls -la "$0"',
      this.#path('mnt'),
    );
    const seen = spawnSync(program, parameters, { encoding: 'utf8' });
    return `${seen.stdout}${seen.stderr}\n${logsOf(this.#path('fs/cluster'))}`;
  }

  /** Starts (or makes) the cluster as after a boot of the machine. */
  async #boot(): Promise<Boot> {
    const boot = await Boot.start(this.#folder);
    this.#undo.push(() => boot.end());
    const cluster = this.#path('fs/cluster');
    const place = ['--dir', cluster, '--mount', this.#path('mnt'), '--base-port', String(this.#basePort)];
    const shape = ['--nodes', '1', '--replicas', '1', '--targets-per-disk', '2'];
    this.#undo.push(() => {
      for (const pid of pidsOf(cluster)) process.kill(pid, 'SIGKILL');
      // The mount lives in the namespace, and is gone with its process and that.
    });
    command(...boot.run(join(root, 'catena'), 'up', '-d', ...place, ...shape));
    return boot;
  }

  /** Everything ends at once, and what was set up is taken down. */
  async #crash(): Promise<void> {
    const undo = this.#undo.reverse();
    this.#undo = [];
    const errors: unknown[] = [];
    for (const step of undo) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  async stop(): Promise<void> {
    await this.#crash();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The supervisor first, so that it restarts nobody. */
function pidsOf(cluster: string): number[] {
  const names = ['supervisor', 'mount', 'meta', 'storage-1', 'manager'];
  return names.flatMap((name) => {
    try {
      const pid = Number.parseInt(readlinkSync(join(cluster, 'run', `${name}.pid`)));
      // Only if it lives, and is what was noted.
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(cluster) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

function bootNs(): bigint {
  const [seconds = '0'] = readFileSync('/proc/uptime', 'utf8').split(' ');
  return BigInt(Math.round(Number(seconds) * 1000)) * 1_000_000n;
}
