// Builds the addon with cargo and puts it at native/catena.node, where native/src/binding.ts loads it.
// The file is replaced by a rename: a process that has the old one loaded keeps it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const needed = /^rust-version = "(\d+)\.(\d+)/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'));

function fail(sentence) {
  console.error(`build-native: ${sentence}`);
  process.exit(1);
}

function checkCargo() {
  const answer = spawnSync('cargo', ['--version'], { cwd: root, encoding: 'utf8' });
  const wanted = `Rust ${needed[1]}.${needed[2]} or newer is needed`;
  if (answer.error !== undefined || answer.status !== 0) {
    fail(
      `cargo cannot be run (${answer.error?.code ?? answer.stderr.trim()}); ${wanted}: see https://rustup.rs`,
    );
  }
  const found = /(\d+)\.(\d+)/.exec(answer.stdout);
  const older = Number(found[1]) * 1000 + Number(found[2]) < Number(needed[1]) * 1000 + Number(needed[2]);
  if (older) fail(`${wanted}, found ${answer.stdout.trim()}; run: rustup update stable`);
}

function build() {
  const built = spawnSync('cargo', ['build', '--release', '-p', 'addon', '--locked'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (built.status !== 0)
    fail(`cargo build failed (${built.signal ?? `exit ${built.status}`}); its messages are above`);
}

function install() {
  const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
  const library = join(target, 'release', process.platform === 'darwin' ? 'libaddon.dylib' : 'libaddon.so');
  const addon = join(root, 'native/catena.node');
  if (existsSync(addon) && readFileSync(addon).equals(readFileSync(library))) return;
  const fresh = `${addon}.${process.pid}`;
  copyFileSync(library, fresh);
  renameSync(fresh, addon);
}

checkCargo();
build();
install();
