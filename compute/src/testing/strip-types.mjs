// Lets Node 20 run the TypeScript sources of this tree, for worker processes that tests start. Products run
// the build.
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
// biome-ignore lint/correctness/noUndeclaredDependencies: it comes with vitest, and only tests load this file
import { transformSync } from 'rolldown/utils';

if (isMainThread) register(import.meta.url);

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const source = await readFile(fileURLToPath(url), 'utf8');
  const { code, errors } = transformSync(fileURLToPath(url), source, { lang: 'ts' });
  if (errors.length > 0) throw new Error(`${url}: ${errors[0].message}`);
  return { format: 'module', source: code, shortCircuit: true };
}
