// The life of a real process: a small service, bundled because Node runs no TypeScript, started with and
// without what it needs.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'catena-process-'));
const program = join(directory, 'service.mjs');
const running: ChildProcess[] = [];

beforeAll(async () => {
  const source = join(directory, 'service.ts');
  writeFileSync(source, service(new URL('.', import.meta.url).pathname));
  await build({
    configFile: false,
    logLevel: 'silent',
    root: directory,
    ssr: { noExternal: true },
    build: {
      ssr: source,
      outDir: directory,
      emptyOutDir: false,
      rolldownOptions: { output: { entryFileNames: 'service.mjs' } },
    },
  });
}, 60_000);
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

const service = (core: string): string => `
import { FsError } from '${core}errors.ts';
import { runService } from '${core}process.ts';
await runService({
  name: 'sample',
  schema: {
    mode: { type: 'text', default: 'good', unit: 'mode', reason: 'What the sample does.', scope: 'process' },
    size: { type: 'integer', default: 3, min: 1, max: 9, unit: 'pieces', reason: 'How many.', scope: 'process' },
  },
  bootMs: () => Number(process.hrtime.bigint()) / 1e6,
  check: (config) => {
    if (config.mode === 'odd' && config.size % 2 === 0) throw new FsError('BAD_CONFIG', 'odd needs an odd size');
  },
  async start(config, { fail, clock }) {
    const keepAlive = setInterval(() => {}, 1000);
    if (config.mode === 'refuse') throw new FsError('ALREADY_RUNNING', 'the port is taken');
    if (config.mode === 'waits') {
      console.log('it waits');
      await new Promise(() => {});
    }
    if (config.mode === 'bug') throw new TypeError('a bug in start');
    if (config.mode === 'fail') clock.timer(10, () => fail(new FsError('IO', 'the disk broke')));
    if (config.mode === 'later') clock.timer(10, () => { throw new RangeError('a bug later'); });
    const reject = () => { void Promise.reject(new RangeError('a bug in a promise')); };
    if (config.mode === 'reject') clock.timer(10, reject);
    return {
      ready: { size: config.size },
      async stop() {
        if (config.mode === 'stop-fails') throw new FsError('IO', 'cannot flush');
        clearInterval(keepAlive);
      },
    };
  },
});
`;

interface Ended {
  code: number | null;
  out: string;
  err: string;
}

function run(
  toml: string,
  flags: readonly string[] = [],
  onReady?: (child: ChildProcess) => void,
): Promise<Ended> {
  const config = join(directory, `${running.length}.toml`);
  writeFileSync(config, toml);
  const child = spawn(process.execPath, [program, '--config', config, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  return new Promise((resolve) => {
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      if (/process\.ready|it waits/.test(out)) {
        onReady?.(child);
        onReady = undefined;
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

const events = (err: string): string[] =>
  err
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => (JSON.parse(line) as { event: string }).event);

test('says ready once, and stops in order on both signals', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const ended = await run('size = 5', [], (child) => child.kill(signal));
    expect(ended.code).toBe(0);
    expect(JSON.parse(ended.out)).toEqual({ event: 'process.ready', process: 'sample', size: 5 });
    expect(events(ended.err)).toEqual(['process.ready', 'process.stop', 'process.end']);
  }
});

test('a start that waits for something else ends when it is told to', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const ended = await run('mode = "waits"', [], (child) => child.kill(signal));
    expect(ended).toMatchObject({ code: 0, out: 'it waits\n' });
    expect(events(ended.err)).toEqual(['process.end']);
  }
});

test('a wrong configuration or flag: one line, exit code 2, nothing started', async () => {
  for (const [toml, flags, sentence] of [
    ['size = 10', [], /"size" must be/],
    ['sise = 1', [], /unknown key "sise"; did you mean "size"/],
    ['mode = "odd"\nsize = 4', [], /odd needs an odd size/],
    ['', ['--bogus'], /bogus/],
    ['', ['--log-level', 'loud'], /--log-level must be one of/],
  ] as const) {
    const ended = await run(toml, flags);
    expect([ended.code, ended.out]).toEqual([2, '']);
    expect(ended.err.trimEnd().split('\n')).toHaveLength(1);
    expect(ended.err).toMatch(sentence);
  }
});

test('--check-config and --print-config start nothing', async () => {
  const checked = await run('mode = "refuse"', ['--check-config']);
  expect([checked.code, checked.err]).toEqual([0, '']);
  expect(checked.out).toMatch(/the configuration is right/);
  const printed = await run('size = 7', ['--print-config']);
  expect(printed.code).toBe(0);
  expect(printed.out).toMatch(/# How many\.\n# pieces, 1 to 9, default 3; per process\nsize = 7/);
  const wrong = await run('size = 77', ['--check-config']);
  expect(wrong.code).toBe(2);
});

test('a start that fails: one line, exit code 1; our own bugs: an event with the stack, exit code 70', async () => {
  const refused = await run('mode = "refuse"');
  expect([refused.code, refused.out]).toEqual([1, '']);
  expect(refused.err).toBe('sample: another process uses this directory or port: the port is taken\n');
  for (const mode of ['bug', 'later', 'reject']) {
    const crashed = await run(`mode = "${mode}"`);
    expect(crashed.code, mode).toBe(70);
    expect(events(crashed.err).at(-1)).toBe('process.crash');
    expect(crashed.err).toMatch(/a bug .*service\.mjs/);
  }
});

test('a failure while running stops in order with exit code 1; a stop that fails is said', async () => {
  const failed = await run('mode = "fail"');
  expect(failed.code).toBe(1);
  expect(events(failed.err)).toEqual(['process.ready', 'process.failure', 'process.stop', 'process.end']);
  const unclean = await run('mode = "stop-fails"', [], (child) => child.kill('SIGTERM'));
  expect(unclean.code).toBe(1);
  expect(events(unclean.err).at(-1)).toBe('process.stop.failure');
});
