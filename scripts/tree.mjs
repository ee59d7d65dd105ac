// The files of the project, for the tests that look at all of them.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Paths below `root`: what is committed, and what is new and not ignored. */
export const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
})
  .toString()
  .split('\n')
  .filter((name) => name !== '' && existsSync(join(root, name)));

/** The text of one of them. */
export const read = (name) => readFileSync(join(root, name), 'utf8');
