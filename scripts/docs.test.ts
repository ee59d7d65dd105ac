// What the docs name is there: pages, files, errors, planted bugs. A page that says where a rule lives is
// worth as much as that is true.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { files, read, root } from './tree.mjs';

const pages = files.filter((name) => name.endsWith('.md'));

/** `a/{b,c}.rs` is two names. */
function expanded(name: string): string[] {
  const [, before, choices, after] = /^(.*?)\{([^}]*)\}(.*)$/.exec(name) ?? [];
  if (choices === undefined) return [name];
  return choices.split(',').flatMap((choice) => expanded(`${before}${choice.trim()}${after}`));
}

/** Source files that a page names in backticks, by the end of their path. */
function namedFiles(page: string): string[] {
  const quoted = [...page.matchAll(/`([^`\n]+)`/g)].map(([, text]) => text ?? '');
  const isFile = (text: string): boolean =>
    /^\w[\w.{},*/-]*\/[\w.{},*/-]*\.(rs|ts|mjs|tla|proto|json|md|sh)$/.test(text);
  return quoted.filter(isFile).flatMap(expanded);
}

function exists(name: string): boolean {
  const pattern = name.replaceAll(/[.+]/g, '\\$&').replaceAll('*', '[^/]*');
  return files.some((file) => new RegExp(`(^|/)${pattern}$`).test(file));
}

test('every link leads somewhere', () => {
  const broken = pages.flatMap((name) =>
    [...read(name).matchAll(/\]\((?!https?:)([^)#]+)/g)]
      .filter(([, target]) => !existsSync(join(root, dirname(name), target ?? '')))
      .map(([, target]) => `${name}: ${target}`),
  );
  expect(broken).toEqual([]);
});

test('every source file that a page names is there', () => {
  expect(expanded('a/{b,c}.rs')).toEqual(['a/b.rs', 'a/c.rs']);
  expect(namedFiles('see `chain/src/{x,y}.rs`, `npm run x`, `/api/a.json`')).toEqual([
    'chain/src/x.rs',
    'chain/src/y.rs',
  ]);
  expect([exists('scripts/docs.test.ts'), exists('scripts/*.test.ts'), exists('scripts/none.ts')]).toEqual([
    true,
    true,
    false,
  ]);
  // The changelog speaks of what was.
  const spoken = pages.filter((name) => name !== 'CHANGELOG.md');
  const named = spoken.flatMap((name) => namedFiles(read(name)).map((file) => ({ name, file })));
  expect(named.length).toBeGreaterThan(100);
  expect(named.filter(({ file }) => !exists(file)).map(({ name, file }) => `${name}: ${file}`)).toEqual([]);
});

test('every error of the table has a line in the docs', () => {
  const rows = JSON.parse(read('native/proto/errors.json')) as { name: string }[];
  const docs = read('docs/errors.md');
  expect(rows.filter((row) => !docs.includes(`\`${row.name}\``)).map((row) => row.name)).toEqual([]);
});

test('every planted bug of the chain stands beside the rule that it breaks', () => {
  const rows = read('native/crates/chain/src/museum.rs').matchAll(/^ {4}([A-Z]\w+) = "/gm);
  const planted = [...rows].map(([, name]) => name ?? '');
  expect(planted.length).toBeGreaterThanOrEqual(30);
  const docs = read('docs/replication.md');
  // R1 to R5 are bugs of their own names.
  const unnamed = planted.filter((name) => !/^R[1-5]$/.test(name) && !docs.includes(`\`${name}\``));
  expect(unnamed).toEqual([]);
});
