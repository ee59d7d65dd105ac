// Everyday programs on the mount: git, tar, npm, SQLite, rm -rf.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RunningCluster, root } from './running-cluster.ts';

let cluster: RunningCluster;
const at = (name: string): string => join(cluster.mount, name);

beforeAll(() => {
  cluster = RunningCluster.start();
});
afterAll(() => cluster.stop());

/** Runs a program; its failure is the test's, with what it said. */
function run(cwd: string, command: string, ...parameters: string[]): string {
  const done = spawnSync(command, parameters, {
    cwd,
    encoding: 'utf8',
    timeout: 180_000,
    maxBuffer: 64 << 20,
  });
  expect(
    done.status,
    `${command} ${parameters.join(' ')}: ${done.stdout}${done.stderr}${done.error ?? ''}`,
  ).toBe(0);
  return done.stdout;
}

test('git clones, commits and finds nothing wrong', () => {
  // A clone of a shallow clone works like one of a whole repository, and CI may have either.
  run(cluster.mount, 'git', 'clone', '--quiet', '--no-local', root, at('clone'));
  run(at('clone'), 'git', 'fsck', '--strict');
  writeFileSync(at('clone/new.txt'), 'new\n');
  run(at('clone'), 'git', 'add', 'new.txt');
  run(
    at('clone'),
    'git',
    '-c',
    'user.name=test',
    '-c',
    'user.email=test@localhost',
    'commit',
    '--quiet',
    '-m',
    'new',
  );
  expect(run(at('clone'), 'git', 'status', '--porcelain')).toBe('');
  run(at('clone'), 'git', 'gc', '--quiet');
  run(at('clone'), 'git', 'fsck', '--strict');
});

test('tar unpacks what it packed', () => {
  run(root, 'tar', 'cf', at('core.tar'), 'core/src', 'native/proto');
  mkdirSync(at('unpacked'));
  run(at('unpacked'), 'tar', 'xf', at('core.tar'));
  run(root, 'diff', '-r', 'core/src', at('unpacked/core/src'));
  run(root, 'diff', '-r', 'native/proto', at('unpacked/native/proto'));
});

test('npm ci installs some 1,400 files of real packages from a lock file', () => {
  // Packed from this repository's own tree, so that no registry is needed; fast-check depends on pure-rand.
  const names = ['commander', 'fast-check', 'pure-rand', 'smol-toml'];
  const installed = (name: string): string => join(root, 'node_modules', name);
  mkdirSync(at('app/packages'), { recursive: true });
  const dependencies = names.map((name) => {
    const words = ['pack', '--silent', '--ignore-scripts', '--pack-destination', at('app/packages')];
    const packed = run(installed(name), 'npm', ...words).trim();
    return [name, `file:packages/${packed}`];
  });
  const manifest = { name: 'app', version: '1.0.0', dependencies: Object.fromEntries(dependencies) };
  writeFileSync(at('app/package.json'), JSON.stringify(manifest));
  const quietly = ['--silent', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  run(at('app'), 'npm', 'install', '--package-lock-only', ...quietly);
  // The second one removes what the first one made.
  for (let round = 0; round < 2; round++) {
    run(at('app'), 'npm', 'ci', ...quietly);
    // npm pack leaves change logs out.
    for (const name of names)
      run(at('app'), 'diff', '-r', '-x', 'CHANGELOG.md', installed(name), at(`app/node_modules/${name}`));
  }
  const files = readdirSync(at('app/node_modules'), { recursive: true });
  expect(files.length).toBeGreaterThan(1_400);
  writeFileSync(
    at('app/use.mjs'),
    'import fc from "fast-check"; console.log(fc.sample(fc.constant(42), 1)[0]);',
  );
  expect(run(at('app'), 'node', 'use.mjs').trim()).toBe('42');
  expect(run(at('app'), 'npm', 'ls', '--depth', '0', '--parseable').trim().split('\n')).toHaveLength(
    names.length + 1,
  );
});

test('an installed tree of npm packages works when it is copied in', () => {
  cpSync(join(root, 'node_modules/commander'), at('node_modules/commander'), {
    recursive: true,
    dereference: true,
  });
  writeFileSync(at('use.mjs'), 'import { Command } from "commander"; console.log(new Command("x").name());');
  expect(run(cluster.mount, 'node', 'use.mjs').trim()).toBe('x');
});

test('SQLite keeps its journal and its integrity', () => {
  const database = at('test.db');
  const script = [
    'pragma journal_mode=delete;',
    'create table numbers(n integer primary key, square integer);',
    'begin;',
    'with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000) insert into numbers select n, n * n from c;',
    'commit;',
    'update numbers set square = square + 1 where n % 7 = 0;',
    'delete from numbers where n % 5 = 0;',
    'vacuum;',
  ].join('\n');
  const done = spawnSync('sqlite3', [database], { input: script, encoding: 'utf8', timeout: 120_000 });
  expect(done.status, done.stderr).toBe(0);
  expect(run(cluster.mount, 'sqlite3', database, 'pragma integrity_check;').trim()).toBe('ok');
  expect(run(cluster.mount, 'sqlite3', database, 'select count(*), sum(square) from numbers;').trim()).toBe(
    run(cluster.mount, 'sqlite3', ':memory:', sumOfNumbers).trim(),
  );
});

const sumOfNumbers = `with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000)
  select count(*), sum(n * n + (n % 7 = 0)) from c where n % 5 <> 0;`;

test('rm -rf removes a tree', () => {
  expect(existsSync(at('clone/.git'))).toBe(true);
  run(cluster.mount, 'rm', '-rf', 'clone', 'unpacked', 'node_modules', 'app');
  expect(readdirSync(cluster.mount).sort()).toEqual(['core.tar', 'test.db', 'use.mjs']);
  expect(readFileSync(at('use.mjs'), 'utf8')).toContain('commander');
});
