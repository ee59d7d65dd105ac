// Programs that run beside a test: started, waited for, and never left behind.
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { root } from '../cluster/running-cluster.ts';

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Program {
  readonly name: string;
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  /** `log`: a file that gets what the program says, too. */
  constructor(name: string, command: readonly string[], log?: string) {
    this.name = name;
    const [program = '', ...parameters] = command;
    this.#child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'pipe'] });
    const file = log === undefined ? undefined : createWriteStream(log);
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#stdout += chunk.toString();
      file?.write(chunk);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
      file?.write(chunk);
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        file?.end();
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.name} did not start`);
    return pid;
  }

  /** What it has said so far. */
  get said(): string {
    return this.#stdout + this.#stderr;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** The end of its input, which ends `witness disk`. */
  endInput(): void {
    this.#child.stdin?.end();
  }

  /** Resolves with the first output that has the words, or rejects with what was said at the end. */
  async until(words: string): Promise<void> {
    while (!this.said.includes(words)) {
      const ended = await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, 20))]);
      if (ended !== undefined && !this.said.includes(words))
        throw new Error(`${this.name} ended without '${words}': ${this.said}`);
    }
  }
}

export const witnessPath: string = join(root, process.env.CARGO_TARGET_DIR ?? 'target', 'release', 'witness');

type Options = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** The words that run a program of native/crates/witness. */
export function witnessWords(command: string, options: Options): string[] {
  const given = Object.entries(options).flatMap(([name, value]) =>
    [value ?? []].flat().flatMap((each) => [`--${name}`, String(each)]),
  );
  return [witnessPath, command, ...given];
}

/** A program of native/crates/witness. */
export function witness(command: string, options: Options): Program {
  return new Program(`witness ${command}`, witnessWords(command, options));
}

/** Its line of JSON; an error with all that it said if it could not do its work. */
export async function findings<Found>(program: Program): Promise<Found> {
  const { code, signal, stdout, stderr } = await program.ended;
  if (code !== 0 && code !== 1) throw new Error(`${program.name}: ${signal ?? code} ${stdout}${stderr}`);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Found;
}
