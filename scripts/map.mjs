// `npm run map`: each room and crate with its sentence and what it imports.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

for (const room of workspaces) {
  const { description, dependencies } = JSON.parse(readFileSync(join(root, room, 'package.json'), 'utf8'));
  const imports = Object.keys(dependencies).filter((name) => name.startsWith('@catena/'));
  console.log(
    `${room.padEnd(16)} ${description}\n${' '.repeat(17)}imports: ${imports.join(', ') || 'nothing'}`,
  );
}
for (const crate of readdirSync(join(root, 'native/crates'))) {
  const main = ['lib.rs', 'main.rs']
    .map((name) => join(root, 'native/crates', crate, 'src', name))
    .find(existsSync);
  const sentence = /^\/\/! (.*)$/m.exec(readFileSync(main, 'utf8'))?.[1] ?? '';
  const manifest = readFileSync(join(root, 'native/crates', crate, 'Cargo.toml'), 'utf8');
  const used = readdirSync(join(root, 'native/crates')).filter((name) =>
    manifest.includes(`\n${name}.workspace`),
  );
  console.log(
    `crates/${crate.padEnd(14)} ${sentence}\n${' '.repeat(22)}uses: ${used.join(', ') || 'nothing'}`,
  );
}
