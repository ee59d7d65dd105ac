// A cluster of several hosts on one machine: each host is a network namespace with an address of its own and a
// supervisor of its own, all on one bridge; so hosts can be cut off from each other, also in one direction.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { catena, logsOf, root, type Status } from '../cluster/running-cluster.ts';
import { ExtraMount } from './extra-mount.ts';
import { command, tryCommand } from './machine.ts';
import { Program } from './program.ts';

/** Who runs where; `client` has the ordinary mount. */
const hosts = ['control', 'storage-1', 'storage-2', 'storage-3', 'client', 'other-client'] as const;
export type Host = (typeof hosts)[number];

const readyMs = 60_000;
const basePort = 7400;

interface ProcessSpec {
  readonly name: string;
  readonly address?: string;
  readonly http: string;
  readonly configPath: string;
}
interface Description {
  readonly name: string;
  readonly processes: readonly ProcessSpec[];
}

const addressOf = (host: Host): string => `10.86.0.${hosts.indexOf(host) + 1}`;

function hostOf(process: string): Host {
  if (process === 'mount') return 'client';
  return hosts.find((host) => host === process) ?? 'control';
}

export class Hosts {
  readonly mount: string;
  /** Folder of the whole; each host has its own in it. */
  readonly directory: string;
  readonly #folder: string;
  readonly #prefix = `catena-${process.pid}`;
  readonly #programs: Program[] = [];
  readonly #mounts: ExtraMount[] = [];
  #name = '';

  private constructor(folder: string) {
    this.#folder = folder;
    this.directory = join(folder, 'cluster');
    this.mount = join(folder, 'mnt');
  }

  static async start(): Promise<Hosts> {
    const made = new Hosts(mkdtempSync(join(tmpdir(), 'catena-hosts-')));
    try {
      made.#connect();
      made.#describe();
      for (const host of hosts.filter((each) => each !== 'other-client')) made.#startHost(host);
      await made.untilReady();
    } catch (error) {
      const logs = made.logs();
      await made.stop();
      throw new Error(`${error}\n${logs}`);
    }
    return made;
  }

  #namespace(host: Host | 'net'): string {
    return `${this.#prefix}-${host}`;
  }

  /** The words that run a command on a host. */
  on(host: Host, ...words: readonly string[]): string[] {
    return ['nsenter', `--net=/run/netns/${this.#namespace(host)}`, '--', ...words];
  }

  #connect(): void {
    const net = this.#namespace('net');
    command('ip', 'netns', 'add', net);
    command('ip', '-n', net, 'link', 'add', 'bridge', 'type', 'bridge');
    command('ip', '-n', net, 'link', 'set', 'bridge', 'up');
    for (const [index, host] of hosts.entries()) {
      const space = this.#namespace(host);
      command('ip', 'netns', 'add', space);
      const peer = ['peer', 'name', `port-${index}`, 'netns', net];
      command('ip', 'link', 'add', 'eth0', 'netns', space, 'type', 'veth', ...peer);
      command('ip', '-n', space, 'address', 'add', `${addressOf(host)}/24`, 'dev', 'eth0');
      for (const device of ['lo', 'eth0']) command('ip', '-n', space, 'link', 'set', device, 'up');
      command('ip', '-n', net, 'link', 'set', `port-${index}`, 'master', 'bridge', 'up');
    }
  }

  /** One description of the whole, as users have it, becomes one for each host. */
  #describe(): void {
    const place = ['--dir', this.directory, '--mount', this.mount, '--base-port', String(basePort)];
    const made = catena('init', ...place);
    if (made.status !== 0) throw new Error(`catena init: ${made.stdout}${made.stderr}`);
    mkdirSync(this.mount);
    const whole = readFileSync(join(this.directory, 'cluster.json'), 'utf8');
    const { name, processes } = JSON.parse(whole) as Description;
    this.#name = name;
    const replace = (text: string): string =>
      processes.reduce((replaced, spec) => {
        const at = addressOf(hostOf(spec.name));
        return [spec.address, spec.http].reduce<string>((each, address) => {
          const port = address?.split(':')[1];
          return port === undefined ? each : each.replaceAll(`"127.0.0.1:${port}"`, `"${at}:${port}"`);
        }, replaced);
      }, text);
    for (const host of hosts) {
      const folder = this.#folderOf(host);
      for (const part of ['config', 'run', 'logs']) mkdirSync(join(folder, part), { recursive: true });
      const own = processes.filter((spec) => hostOf(spec.name) === host);
      for (const spec of own) {
        const config = readFileSync(spec.configPath, 'utf8');
        writeFileSync(join(folder, 'config', `${spec.name}.toml`), replace(config));
      }
      const description = {
        ...(JSON.parse(replace(whole)) as Description),
        directory: folder,
        ...(host === 'client' ? {} : { mountpoint: undefined }),
        processes: (JSON.parse(replace(whole)) as Description).processes
          .filter((spec) => hostOf(spec.name) === host)
          .map((spec) => ({ ...spec, configPath: join(folder, 'config', `${spec.name}.toml`) })),
      };
      writeFileSync(join(folder, 'cluster.json'), JSON.stringify(description));
    }
  }

  #folderOf(host: Host): string {
    return join(this.#folder, host);
  }

  #startHost(host: Host): void {
    const words = [process.execPath, join(root, 'cli/dist/main.js'), 'node', '--dir', this.#folderOf(host)];
    const log = join(this.#folderOf(host), 'logs', 'supervisor.log');
    this.#programs.push(new Program(`supervisor of ${host}`, this.on(host, ...words), log));
  }

  /** A mount without caches on that host. */
  async mountOn(host: Host, number: number): Promise<ExtraMount> {
    const mount = await ExtraMount.startAt({
      folder: this.#folder,
      number,
      cluster: this.#name,
      manager: `${addressOf('control')}:${basePort}`,
      http: `${addressOf(host)}:${basePort + 120 + number}`,
      prefix: this.on(host),
    });
    this.#mounts.push(mount);
    return mount;
  }

  /** Runs a command of catena where the manager is; its exit code and what it said. */
  catena(...parameters: readonly string[]): { status: number | null; said: string } {
    const words = [join(root, 'catena'), ...parameters, '--dir', this.#folderOf('control')];
    return tryCommand(...this.on('control', ...words));
  }

  async untilReady(): Promise<void> {
    const deadline = performance.now() + readyMs;
    for (;;) {
      const chains = this.#chains();
      const serves = chains.flatMap((chain) => chain.members).every((member) => member.state === 'serving');
      const mounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mount} `);
      if (chains.length > 0 && serves && mounted) return;
      if (performance.now() > deadline) throw new Error(`the hosts are not ready after ${readyMs} ms`);
      await sleep(200);
    }
  }

  #chains(): NonNullable<Status['chains']> {
    const { said } = this.catena('status', '--json');
    return said.startsWith('{') ? ((JSON.parse(said) as Status).chains ?? []) : [];
  }

  /** No packet from those hosts reaches this one (`in`), none of this one leaves to them (`out`), or both. */
  cut(host: Host, direction: 'in' | 'out' | 'both', from: readonly Host[]): void {
    const addresses = `{ ${from.map(addressOf).join(', ')} }`;
    const input = `chain in { type filter hook input priority 0; ip saddr ${addresses} drop; };`;
    const output = `chain out { type filter hook output priority 0; ip daddr ${addresses} drop; };`;
    const chains = { in: input, out: output, both: `${input} ${output}` }[direction];
    command(...this.on(host, 'nft', `table inet cut { ${chains} }`));
  }

  heal(host: Host): void {
    command(...this.on(host, 'nft', 'delete table inet cut'));
  }

  /** Of the packets that reach and leave this host, so many of a thousand are lost at random. */
  lose(host: Host, perMille: number): void {
    const chain = (hook: 'input' | 'output', device: string): string =>
      `chain ${hook} { type filter hook ${hook} priority 0; ` +
      `${device} != "lo" numgen random mod 1000 < ${perMille} drop; };`;
    const chains = `${chain('input', 'iifname')} ${chain('output', 'oifname')}`;
    command(...this.on(host, 'nft', `table inet loss { ${chains} }`));
  }

  keepPackets(host: Host): void {
    command(...this.on(host, 'nft', 'delete table inet loss'));
  }

  /** What this host sends waits behind a narrow link, up to `delayMs`; what would wait longer is lost. */
  narrow(host: Host, rate: string, delayMs: number): void {
    const queue = ['rate', rate, 'burst', '64kb', 'latency', `${delayMs}ms`];
    command(...this.on(host, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', ...queue));
  }

  widen(host: Host): void {
    command(...this.on(host, 'tc', 'qdisc', 'delete', 'dev', 'eth0', 'root'));
  }

  /** Segments that TCP on this host sent again. */
  retransmissions(host: Host): number {
    const words = command(...this.on(host, 'cat', '/proc/net/snmp')).split('\n');
    const [names = '', values = ''] = words.filter((line) => line.startsWith('Tcp:'));
    return Number(values.split(' ')[names.split(' ').indexOf('RetransSegs')]);
  }

  logs(): string {
    return hosts.map((host) => `=== ${host}\n${logsOf(this.#folderOf(host))}`).join('\n');
  }

  async stop(): Promise<void> {
    for (const host of hosts) tryCommand(...this.on(host, 'nft', 'flush ruleset'));
    for (const mount of this.#mounts) await mount.stop();
    // The clients first: they have something to say to the others.
    for (const program of this.#programs.reverse()) {
      program.signal('SIGTERM');
      await program.ended;
    }
    tryCommand('umount', '-l', this.mount);
    for (const host of ['net', ...hosts] as const) tryCommand('ip', 'netns', 'delete', this.#namespace(host));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** All hosts but one. */
export function othersThan(host: Host): Host[] {
  return hosts.filter((each) => each !== host);
}
