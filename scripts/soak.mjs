// npm run soak: what takes long, one after another; prints the figures and adds them to bench/results/soak.json.
//   --only kills,power,simulator,engine,hardships   choose (default: all)
//   --minutes N                                     of each timed part (default: 10)
// A part that fails prints the command that repeats it, and does not keep the others from running.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const resultsPath = join(root, 'bench/results/soak.json');
/** Runs kept in the file: the newest. */
const runsMax = 50;

const vitest = (file) => ['node_modules/.bin/vitest', 'run', '--config', 'tests/vitest.config.ts', file];
const cargoTest = (crate, ...rest) => ['cargo', 'test', '--release', '-q', '-p', crate, ...rest];
/** Worlds of the simulator in one call; the next run goes on behind the last one recorded. */
const seedsPerMinute = 20_000;

const parts = {
  kills: {
    sentence: 'a random service is killed every 2 to 5 s under verifying load',
    steps: (minutes) => [
      { command: vitest('tests/faults/random-kills.test.ts'), env: { CATENA_FAULT_SECONDS: minutes * 60 } },
    ],
  },
  power: {
    sentence: 'the power of a machine is cut a hundred times',
    steps: () => [
      {
        command: vitest('tests/faults/power-cut.test.ts'),
        env: { CATENA_POWER_RUNS: 10, CATENA_POWER_CUTS_PER_RUN: 10 },
      },
    ],
  },
  hardships: {
    sentence: 'a server is paused, its disk is slow, its disk is empty, for half a minute each',
    steps: () => [{ command: vitest('tests/faults/hardships.test.ts'), env: { CATENA_HARDSHIP_MS: 30_000 } }],
  },
  simulator: {
    sentence: 'worlds of the chain protocol, seeds that no run before has seen',
    steps: (minutes, before) => {
      const from = before.reduce((most, run) => Math.max(most, run.figures?.seedsTo ?? 0), 1_000_000);
      const to = from + minutes * seedsPerMinute;
      const command = [
        'cargo',
        'run',
        '--release',
        '-q',
        '-p',
        'sim',
        '--',
        'chain',
        '--seeds',
        `${from}..${to}`,
      ];
      return [{ command, figures: { seedsFrom: from, seedsTo: to } }];
    },
  },
  engine: {
    sentence: "the chunk engine's crash states and failed operations, all of them",
    steps: () => [
      { command: cargoTest('chunk-engine'), env: { CATENA_EXHAUSTIVE: 1, PROPTEST_CASES: 20_000 } },
    ],
  },
};

function parse(words) {
  const options = { only: Object.keys(parts), minutes: 10 };
  for (let index = 0; index < words.length; index += 2) {
    const [name, value] = [words[index], words[index + 1]];
    if (name === '--only' && value !== undefined) options.only = value.split(',');
    else if (name === '--minutes' && Number(value) > 0) options.minutes = Number(value);
    else
      throw new Error(
        `soak: '${name} ${value ?? ''}': expected --only ${Object.keys(parts).join(',')} or --minutes N`,
      );
  }
  const unknown = options.only.find((name) => !(name in parts));
  if (unknown !== undefined)
    throw new Error(`soak: no part '${unknown}'; there are ${Object.keys(parts).join(', ')}`);
  return options;
}

function run({ command, env = {} }) {
  const given = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]));
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: root,
      env: { ...process.env, NO_COLOR: '1', ...given },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        text += chunk.toString();
        process.stdout.write(chunk);
      });
    }
    child.on('error', (error) => resolve({ code: 1, text: String(error) }));
    child.on('close', (code) => resolve({ code: code ?? 1, text: stripVTControlCharacters(text) }));
  });
}

/** Lines that end with a JSON object, or that sum a run up: what a reader of the results wants. */
function figureLines(text) {
  const wanted = /\{".*\}$|^\d+ seeds: |^test result: |to repeat: |^without flushes/;
  return text
    .split('\n')
    .filter((line) => wanted.test(line))
    .map((line) => line.slice(0, 1_000));
}

function load() {
  return existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, 'utf8')) : { runs: [] };
}

function save(entry) {
  const results = load();
  results.runs = [...results.runs, entry].slice(-runsMax);
  mkdirSync(dirname(resultsPath), { recursive: true });
  writeFileSync(resultsPath, `${JSON.stringify(results, undefined, 2)}\n`);
}

let options;
try {
  options = parse(process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exit(2);
}
const failed = [];
for (const name of options.only) {
  const { sentence, steps } = parts[name];
  const before = load().runs.filter((entry) => entry.part === name && entry.passed);
  for (const step of steps(options.minutes, before)) {
    console.log(`\n== ${name}: ${sentence}\n   ${step.command.join(' ')}`);
    const started = performance.now();
    const { code, text } = await run(step);
    if (code !== 0) failed.push(name);
    save({
      part: name,
      at: new Date().toISOString(),
      passed: code === 0,
      seconds: Math.round((performance.now() - started) / 1000),
      machine: { cpus: cpus().length, cpu: cpus()[0]?.model, memoryGiB: Math.round(totalmem() / 2 ** 30) },
      ...(step.figures === undefined ? {} : { figures: step.figures }),
      lines: figureLines(text),
    });
  }
}
console.log(
  failed.length === 0 ? `\nsoak: ${options.only.join(', ')} passed` : `\nsoak: failed: ${failed.join(', ')}`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
