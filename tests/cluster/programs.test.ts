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

test('npm ci installs from a lock file', () => {
  // A package of its own that depends on a folder: npm links and unpacks as always, and no registry is
  // needed.
  mkdirSync(at('app/dependency'), { recursive: true });
  writeFileSync(
    at('app/dependency/package.json'),
    '{"name":"dependency","version":"1.0.0","main":"index.js"}',
  );
  writeFileSync(at('app/dependency/index.js'), 'module.exports = 42;\n');
  run(at('app/dependency'), 'npm', 'pack', '--silent', '--pack-destination', at('app'));
  writeFileSync(
    at('app/package.json'),
    '{"name":"app","version":"1.0.0","dependencies":{"dependency":"file:dependency-1.0.0.tgz"}}',
  );
  run(at('app'), 'npm', 'install', '--silent', '--package-lock-only', '--offline');
  run(at('app'), 'npm', 'ci', '--silent', '--offline');
  expect(run(at('app'), 'node', '-p', 'require("dependency")').trim()).toBe('42');
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
