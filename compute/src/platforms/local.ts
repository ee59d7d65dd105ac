// Workers as processes of this machine. A worker ends when its driver's socket closes; here the processes are
// also killed when the session closes. Keeps the end of what a worker wrote to stderr, to say why it ended.
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Platform, WorkerStart } from './platform.ts';

/** Enough for a stack trace. */
const stderrCharsMax = 4_000;
/** A worker's JavaScript only moves small messages: its memory belongs to DuckDB. */
const heapMegabytes = 256;

const isSource = import.meta.url.endsWith('.ts');
const entry = new URL(isSource ? '../worker/main.ts' : '../worker/main.js', import.meta.url);
// From source, as tests run it, types are stripped on loading.
const sourceArguments = isSource
  ? ['--conditions=source', '--import', new URL('../testing/strip-types.mjs', import.meta.url).href]
  : [];

export class LocalPlatform implements Platform {
  readonly name = 'local';
  readonly listenAddress = '127.0.0.1:0';
  readonly #processes = new Map<string, ChildProcess>();

  start(worker: WorkerStart, ended: (pid: number, detail: string) => void): void {
    const child = spawn(
      process.execPath,
      [`--max-old-space-size=${heapMegabytes}`, ...sourceArguments, fileURLToPath(entry)],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: {
          ...process.env,
          NODE_OPTIONS: '',
          CATENA_WORKER_DRIVER: worker.address,
          CATENA_WORKER_TOKEN: worker.token,
          CATENA_WORKER_SLOT: worker.slot,
          CATENA_WORKER_THREADS: String(worker.threads),
          CATENA_WORKER_MEMORY_BYTES: String(worker.memoryBytes),
          CATENA_WORKER_SPILL: worker.spillDirectory,
        },
      },
    );
    this.#processes.set(worker.slot, child);
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-stderrCharsMax);
    });
    let isOver = false;
    const over = (detail: string): void => {
      if (isOver) return;
      isOver = true;
      if (this.#processes.get(worker.slot) === child) this.#processes.delete(worker.slot);
      ended(child.pid ?? 0, stderr === '' ? detail : `${detail}: ${stderr.trim()}`);
    };
    child.once('error', (error) => over(`the process could not be started: ${error.message}`));
    child.once('close', (code, signal) => over(signal === null ? `exit code ${code}` : `ended by ${signal}`));
    // The worker lives on the connection; the driver must be able to end without it.
    child.unref();
    (child.stderr as unknown as { unref?: () => void }).unref?.();
  }

  kill(slot: string): void {
    this.#processes.get(slot)?.kill('SIGKILL');
  }

  async close(): Promise<void> {
    const closed = [...this.#processes.values()].map(
      (child) => new Promise<void>((resolve) => child.once('close', () => resolve())),
    );
    for (const slot of [...this.#processes.keys()]) this.kill(slot);
    await Promise.all(closed);
  }
}
