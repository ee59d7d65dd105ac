// npm run soak: what takes long, one after another; prints the figures and adds them to bench/results/soak.json.
//   --only kills,network,power,hardships,changes,simulator,engine   choose (default: all)
//   --minutes N                                     of each timed part (default: 10)
//   --results FOLDER                                where figures go (default: bench/results)
// A part that fails prints the command that repeats it, and does not keep the others from running.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, homedir, tmpdir, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { clusterTests } from './runners.mjs';
import { figuresOf, nextSeed, recordedRanges, sumOfRanges, sumsOfCommits } from './soak-figures.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Runs kept in the file: the newest. */
const runsMax = 50;
/** Characters that are kept of what a failed part said last. */
const saidMax = 4_000;
/** Seeds of one call of the simulator, which are one line of its results: about a minute. */
const seedsPerRange = 5_000;
/** Where recorded seeds begin; those before are everyone's. */
const firstSeed = 1_000_000;

const cargo = (...words) => ['cargo', ...words, '--release', '-q'];

const parts = {
  kills: {
    sentence: 'a random service of three and of five storage servers is killed every 2 to 5 s',
    run: ({ minutes }) =>
      run(clusterTests('tests/faults/random-kills.test.ts'), { CATENA_FAULT_SECONDS: minutes * 60 }),
  },
  network: {
    sentence: 'hosts are cut off from each other for half a minute each, and lose packets',
    run: () => run(clusterTests('tests/faults/network.test.ts'), { CATENA_CUT_MS: 30_000 }),
  },
  power: {
    sentence: 'the power of a machine is cut a hundred times',
    run: () =>
      run(clusterTests('tests/faults/power-cut.test.ts'), {
        CATENA_POWER_RUNS: 10,
        CATENA_POWER_CUTS_PER_RUN: 10,
      }),
  },
  hardships: {
    sentence: 'a server is paused, its disk is slow, full and empty, for half a minute each',
    run: () => run(clusterTests('tests/faults/hardships.test.ts'), { CATENA_HARDSHIP_MS: 30_000 }),
  },
  changes: {
    sentence: 'servers and disks are drained, replaced, added and removed, fail and hang, half a minute each',
    run: () =>
      run(clusterTests('tests/cluster/change.test.ts', 'tests/cluster/disk-failures.test.ts'), {
        CATENA_CHANGE_SECONDS: 30,
      }),
  },
  simulator: {
    sentence: 'worlds of the chain protocol, seeds that no run before has seen',
    run: simulate,
  },
  engine: {
    sentence:
      "the chunk engine's crash states and failed operations, all of them; and 10^6 chunks are opened",
    run: exhaustEngine,
  },
};

function parse(words) {
  const options = { only: Object.keys(parts), minutes: 10, results: join(root, 'bench/results') };
  for (let index = 0; index < words.length; index += 2) {
    const [name, value] = [words[index], words[index + 1]];
    if (name === '--only' && value !== undefined) options.only = value.split(',');
    else if (name === '--minutes' && Number(value) > 0) options.minutes = Number(value);
    else if (name === '--results' && value !== undefined) options.results = resolve(value);
    else
      throw new Error(
        `soak: '${name} ${value ?? ''}': expected --only ${Object.keys(parts).join(',')}, --minutes N or --results FOLDER`,
      );
  }
  const unknown = options.only.find((name) => !(name in parts));
  if (unknown !== undefined)
    throw new Error(`soak: no part '${unknown}'; there are ${Object.keys(parts).join(', ')}`);
  return options;
}

/** Shows what it prints; its exit code and all that it said. */
function run(command, env = {}) {
  console.log(`   ${command.join(' ')}`);
  const given = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]));
  return new Promise((done) => {
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
    child.on('error', (error) => done({ code: 1, text: String(error) }));
    child.on('close', (code) => done({ code: code ?? 1, text: stripVTControlCharacters(text) }));
  });
}

async function exhaustEngine() {
  const crashes = await run(cargo('test', '-p', 'chunk-engine'), {
    CATENA_EXHAUSTIVE: 1,
    PROPTEST_CASES: 20_000,
  });
  const folder = mkdtempSync(join(tmpdir(), 'catena-soak-'));
  const opening = await run([...cargo('run', '-p', 'chunk-engine', '--example', 'open_bench'), '--', folder]);
  rmSync(folder, { recursive: true });
  return { code: Math.max(crashes.code, opening.code), text: crashes.text + opening.text };
}

/** On every core, range after range behind the last one in the file, until the time is over or a seed breaks a rule. */
async function simulate({ minutes, results }) {
  const built = await run(cargo('build', '-p', 'sim'));
  if (built.code !== 0) return built;
  const file = join(results, 'sim-chain.jsonl');
  const recorded = () => (existsSync(file) ? recordedRanges(readFileSync(file, 'utf8')) : []);
  const from = nextSeed(recorded(), firstSeed);
  const program = join(root, process.env.CARGO_TARGET_DIR ?? 'target', 'release', 'sim');
  const deadline = performance.now() + minutes * 60_000;
  let next = from;
  const ended = [];
  const worker = async () => {
    while (performance.now() < deadline && ended.every(({ code }) => code === 0)) {
      const first = next;
      next += seedsPerRange;
      ended.push(await run([program, 'chain', '--record', file, '--seeds', `${first}..${next}`]));
    }
  };
  await Promise.all(cpus().map(worker));
  const all = recorded();
  const figures = {
    from,
    to: next,
    run: sumOfRanges(all.filter(({ first }) => first >= from)),
    recorded: sumOfRanges(all),
    commits: sumsOfCommits(all),
  };
  const text = ended.map((each) => each.text).join('');
  return { code: Math.max(0, ...ended.map(({ code }) => code)), text, figures };
}

function save(results, entry) {
  const path = join(results, 'soak.json');
  const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).runs : [];
  const runs = [...before, entry].slice(-runsMax);
  // Into its place whole: hours of figures are in it.
  writeFileSync(`${path}.new`, `${JSON.stringify({ runs }, undefined, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** What runs here; `+` if files differ from it. */
function commit() {
  const git = (...words) => spawnSync('git', words, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head.status !== 0) return 'unknown';
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!bench/results');
  return head.stdout.trim() + (changed.stdout === '' ? '' : '+');
}

/** Ticks of all cores so far: in all, and those that the host gave to others. */
function ticks() {
  const fields = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number);
  return { all: fields.reduce((sum, field) => sum + field, 0), stolen: fields[7] };
}

let options;
try {
  options = parse(process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exit(2);
}
mkdirSync(options.results, { recursive: true });
const failed = [];
for (const name of options.only) {
  const part = parts[name];
  console.log(`\n== ${name}: ${part.sentence}`);
  const [started, before, ran] = [performance.now(), ticks(), commit()];
  const { code, text, figures = figuresOf(text) } = await part.run(options);
  if (code !== 0) failed.push(name);
  const after = ticks();
  const stolenPart = Number(((after.stolen - before.stolen) / (after.all - before.all)).toFixed(3));
  save(options.results, {
    part: name,
    at: new Date().toISOString(),
    commit: ran,
    passed: code === 0,
    seconds: Math.round((performance.now() - started) / 1000),
    machine: {
      cpus: cpus().length,
      cpu: cpus()[0]?.model,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      stolenPart,
    },
    figures,
    // The file is for everyone: where this machine keeps things says nothing to others.
    ...(code === 0 ? {} : { said: text.slice(-saidMax).replaceAll(root, '.').replaceAll(homedir(), '~') }),
  });
}
console.log(
  failed.length === 0 ? `\nsoak: ${options.only.join(', ')} passed` : `\nsoak: failed: ${failed.join(', ')}`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
