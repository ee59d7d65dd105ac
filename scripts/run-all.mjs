// Runs runners, shows their output, and adds up what they counted.
import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const counters = {
  // test result: ok. 7 passed; 0 failed; ...
  cargo: (text) => sum(text.matchAll(/^test result: .*? (\d+) passed; (\d+) failed;/gm)),
  //      Tests  1 failed | 40 passed (41)
  vitest: (text) => {
    const line = /^\s*Tests\s+(.*)$/m.exec(text)?.[1] ?? '';
    const count = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(line)?.[1] ?? 0);
    return { passed: count('passed'), failed: count('failed') };
  },
};

function sum(matches) {
  return add(
    Array.from(matches, ([, passed, failed]) => ({ passed: Number(passed), failed: Number(failed) })),
  );
}

function add(counts) {
  const total = { passed: 0, failed: 0 };
  for (const { passed, failed } of counts) {
    total.passed += passed;
    total.failed += failed;
  }
  return total;
}

function run(command, show) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: root,
      env: { ...process.env, NO_COLOR: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks = [];
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        chunks.push(chunk);
        show(chunk);
      });
    }
    child.on('error', (error) => resolve({ code: 1, text: String(error) }));
    child.on('close', (code) => {
      resolve({ code: code ?? 1, text: stripVTControlCharacters(Buffer.concat(chunks).toString()) });
    });
  });
}

/** What it says as it comes, or all at once when it has ended: of two that run at a time one may speak. */
async function judge(runner, isShownLater) {
  const later = [];
  const show = isShownLater ? (chunk) => later.push(chunk) : (chunk) => process.stdout.write(chunk);
  show(`\n== ${runner.name}: ${runner.command.join(' ')}\n`);
  const started = performance.now();
  const { code, text } = await run(runner.command, show);
  const counted = runner.counts ? counters[runner.counts](text) : { passed: code === 0 ? 1 : 0, failed: 0 };
  if (code !== 0 && counted.failed === 0) counted.failed = 1;
  if (code === 0 && counted.passed === 0) counted.failed = 1; // a runner that ran no test has not passed
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  show(`== ${runner.name}: ${counted.passed} passed, ${counted.failed} failed, ${seconds} s\n`);
  for (const chunk of later) process.stdout.write(chunk);
  return counted;
}

async function runLane(runners, isShownLater) {
  const counts = [];
  for (const runner of runners) counts.push(await judge(runner, isShownLater));
  return add(counts);
}

/**
 * Runs one runner after another, and `beside` them others; returns the sums. A runner that fails without counting a
 * failure counts as one.
 */
export async function runAll(runners, beside = []) {
  return add(await Promise.all([runLane(runners, false), runLane(beside, true)]));
}

/** Prints the closing line, summed over all parts, and sets the exit code. */
export function finish(...parts) {
  const total = add(parts);
  console.log(`\n${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
}
