// A real cluster for one test file: real processes in a folder of its own, started and stopped by the command
// line that users have. Whatever a test does, `stop` leaves no process and no mount.
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const root: string = dirname(dirname(import.meta.dirname));
export const catenaPath: string = join(root, 'catena');

/** Of vitest.config.ts: each has ports of its own. */
const workersMax = 4;
/** Of those that one worker of the test runner uses in turn, so that a leftover of one file never meets the next. */
const clustersPerWorker = 10;
const portsPerCluster = 200;
let clusters = process.pid;

/** Of ports that nobody listens on: another run of the tests may use this machine, too. */
function nextBasePort(): number {
  const worker = Number(process.env.VITEST_POOL_ID ?? 1) % workersMax;
  const listening = listeningPorts();
  for (let tried = 0; tried < clustersPerWorker; tried++) {
    const cluster = clusters++ % clustersPerWorker;
    const first = 21_000 + (worker * clustersPerWorker + cluster) * portsPerCluster;
    if (!listening.some((port) => port >= first && port < first + portsPerCluster)) return first;
  }
  throw new Error('other clusters listen on all ports that the tests use, 21000 to 28999');
}

function listeningPorts(): number[] {
  const listens = '0A';
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === listens)
    .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16));
}

export interface Status {
  ready: boolean;
  missing?: string;
  mounted: boolean;
  processes: { name: string; role: string; pid?: number; healthy: boolean; http: string }[];
  chains?: { id: number; version: string; members: { target: string; node: number; state: string }[] }[];
}

export function catena(...parameters: string[]): SpawnSyncReturns<string> {
  return spawnSync(catenaPath, parameters, { encoding: 'utf8', timeout: 200_000, maxBuffer: 64 << 20 });
}

export class RunningCluster {
  readonly directory: string;
  readonly mount: string;
  readonly basePort: number;

  private constructor(directory: string, basePort: number) {
    this.directory = join(directory, 'cluster');
    this.mount = join(directory, 'mnt');
    this.basePort = basePort;
  }

  static start(...extra: string[]): RunningCluster {
    const cluster = RunningCluster.prepare();
    cluster.up(...extra);
    return cluster;
  }

  /** A folder and ports, nothing started. */
  static prepare(): RunningCluster {
    return new RunningCluster(mkdtempSync(join(tmpdir(), 'catena-test-')), nextBasePort());
  }

  /** Makes the cluster's folder and starts nothing. */
  init(...extra: string[]): void {
    const done = catena('init', ...this.#place(), ...extra);
    if (done.status !== 0) throw new Error(`catena init failed: ${done.stdout}${done.stderr}`);
  }

  up(...extra: string[]): void {
    const done = this.tryUp(...extra);
    if (done.status !== 0) throw new Error(`catena up failed: ${done.stdout}${done.stderr}\n${this.logs()}`);
  }

  tryUp(...extra: string[]): SpawnSyncReturns<string> {
    return catena('up', '-d', ...this.#place(), ...extra);
  }

  /** The exit codes of that many `up` at the same moment. */
  upTogether(count: number): Promise<(number | null)[]> {
    const ups = Array.from({ length: count }, () => {
      const child = spawn(catenaPath, ['up', '-d', ...this.#place()], { stdio: 'inherit' });
      return new Promise<number | null>((ended) => child.once('close', ended));
    });
    return Promise.all(ups);
  }

  #place(): string[] {
    return ['--dir', this.directory, '--mount', this.mount, '--base-port', String(this.basePort)];
  }

  down(): void {
    const done = catena('down', '--dir', this.directory);
    if (done.status !== 0) throw new Error(`catena down failed: ${done.stdout}${done.stderr}`);
  }

  status(): Status {
    return JSON.parse(catena('status', '--json', '--dir', this.directory).stdout) as Status;
  }

  /** The pid of a process by its name (`storage-2`, `meta` ...), as the supervisor noted it. */
  pidOf(name: string): number {
    const pid = readdirSync(join(this.directory, 'run')).includes(`${name}.pid`)
      ? this.#pidIn(`${name}.pid`)
      : 0;
    if (!existsSync(`/proc/${pid}`)) throw new Error(`${name} does not run`);
    return pid;
  }

  get name(): string {
    return (JSON.parse(readFileSync(join(this.directory, 'cluster.json'), 'utf8')) as { name: string }).name;
  }

  supervisorPid(): number {
    return this.#pidIn('supervisor.pid');
  }

  #pidPath(file: string): string {
    return join(this.directory, 'run', file);
  }

  #pidIn(file: string): number {
    return Number.parseInt(readlinkSync(this.#pidPath(file)));
  }

  /** What a process has logged, the supervisor too (`supervisor`). */
  events(name: string): Record<string, unknown>[] {
    const lines = readFileSync(join(this.directory, 'logs', `${name}.log`), 'utf8').split('\n');
    // Not everything that a process says on its way out is a line of the log.
    return lines
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Ends exactly that process, as a crash would. */
  kill(name: string): number {
    const pid = this.pidOf(name);
    process.kill(pid, 'SIGKILL');
    return pid;
  }

  /** Kills it if it runs, without asking the cluster anything: false if it does not. */
  tryKill(name: string): boolean {
    try {
      process.kill(this.#pidIn(`${name}.pid`), 'SIGKILL');
      return true;
    } catch {
      return false;
    }
  }

  async untilReady(withinMs = 60_000): Promise<void> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const late = Date.now() > deadline;
      if (late || (await this.#mayBeReady())) {
        const status = this.status();
        if (status.ready) return;
        if (late) throw new Error(`not ready after ${withinMs} ms: ${status.missing}\n${this.logs()}`);
      }
      await sleep(100);
    }
  }

  /** What the manager says costs less than a whole `catena status`; another manager may be the one to ask. */
  async #mayBeReady(): Promise<boolean> {
    const said = await this.#ask('cluster');
    if (said === undefined) return false;
    if (!said.ok) return true;
    const { chains, chainsWhole } = (await said.json()) as { chains: number; chainsWhole: number };
    return chains === chainsWhole;
  }

  /** A page of the manager (`chains`, `targets` ...); undefined while it is away. */
  async page<T>(name: string): Promise<T | undefined> {
    const said = await this.#ask(name);
    return said?.ok === true ? ((await said.json()) as T) : undefined;
  }

  async #ask(name: string): Promise<Response | undefined> {
    const page = `http://127.0.0.1:${this.basePort + 100}/api/${name}.json`;
    return await fetch(page, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
  }

  /** Waits until it holds; after a while an error that names it, with the logs. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 60_000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`not in time: ${what}\n${this.logs()}`);
      await sleep(50);
    }
  }

  /** What all processes logged in that time, in its order. */
  eventsBetween(fromMs: number, toMs: number): string[] {
    const names = readdirSync(join(this.directory, 'logs')).map((file) => file.replace(/\.log$/, ''));
    return names
      .flatMap((name) => this.events(name).map((line) => ({ at: Date.parse(String(line.time)), name, line })))
      .filter(({ at }) => at >= fromMs && at <= toMs)
      .sort((one, other) => one.at - other.at)
      .map(({ name, line }) => `${name}: ${JSON.stringify(line)}`);
  }

  /** The last lines of every log, for the message of a failed test. */
  logs(): string {
    return logsOf(this.directory);
  }

  stop(): void {
    this.down();
    this.remove();
  }

  /** The folder of one that does not run. */
  remove(): void {
    rmSync(dirname(this.directory), { recursive: true, force: true });
  }
}

/** The last lines of every log of the cluster in that folder. */
export function logsOf(directory: string): string {
  const folder = join(directory, 'logs');
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.log')) : [];
  return names
    .map(
      (name) => `--- ${name}\n${readFileSync(join(folder, name), 'utf8').split('\n').slice(-15).join('\n')}`,
    )
    .join('\n');
}
