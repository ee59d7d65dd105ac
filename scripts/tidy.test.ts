// Lint as a test: the rules of the tree that no linter knows. Each rule names what to do instead.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { files, read, root } from './tree.mjs';

/** What a program of ours or npm writes: nobody else's file is excused for its name. */
const isGenerated = (name: string): boolean =>
  /^(core\/src\/generated\/[^/]+\.ts|native\/crates\/wire\/src\/generated(_errors)?\.rs|package-lock\.json)$/.test(
    name,
  );
/** This file names what it bans. */
const self = 'scripts/tidy.test.ts';
const isSource = (name: string): boolean => /\.(ts|mjs|rs|sh)$/.test(name) && !isGenerated(name);
const sources = files.filter(isSource);
const typescript = sources.filter((name) => name.endsWith('.ts'));

// design §3: who may import whom.
const rooms: Record<string, string[]> = {
  core: [],
  native: ['core'],
  'cluster-manager': ['core', 'native'],
  'meta-service': ['core', 'native'],
  'storage-service': ['core', 'native'],
  'fuse-client': ['core', 'native'],
  compute: ['core', 'fuse-client'],
  bench: ['core', 'native'],
  cli: ['core', 'fuse-client', 'compute', 'bench'],
};
const crates: Record<string, string[]> = {
  wire: [],
  'wire-codegen': [],
  pages: [],
  transport: ['pages', 'wire'],
  'chunk-engine': ['pages', 'wire'],
  chain: ['wire'],
  sim: ['chain', 'wire'],
  storage: ['chain', 'chunk-engine', 'pages', 'transport', 'wire'],
  client: ['chain', 'transport', 'wire'],
  bench: ['client', 'transport', 'wire'],
  fuse: ['client', 'wire'],
  witness: ['fuse', 'wire'],
  addon: ['bench', 'chain', 'client', 'fuse', 'storage', 'transport', 'wire'],
};
// A package that only one file imports: swapping it touches one place.
const singleImporter: Record<string, RegExp> = {
  fastify: /^core\/src\/http\.ts$/,
  etcd3: /^core\/src\/kv-backend\/etcd\.ts$/,
  cockatiel: /^core\/src\/kv-backend\/etcd\.ts$/,
  lmdb: /^core\/src\/kv-backend\/lmdb\.ts$/,
  'smol-toml': /^core\/src\/config.*\.ts$/,
  '@duckdb/node-api': /^compute\/src\/engine\//,
  '@bufbuild/protobuf': /^core\/src\/generated\//,
};
const banned: [RegExp, string, RegExp?][] = [
  [/\b(FIXME|TODO|XXX)\b/, 'finish it, or say in docs/goals.md that it is not there'],
  [/\bas any\b/, 'give it a type'],
  [/\.only\(/, 'run one test with `vitest run -t`'],
  [/\b(test|it|describe)\.skip\(|#\[ignore/, 'a test that cannot run fails loudly and says what is missing'],
  [/\b(todo|unimplemented)!\(/, 'write it'],
  [/pkill|killall/, 'end processes by the pid you noted'],
];
// Time and chance are handed in, so that decisions can be simulated.
const impure = /\b(Date\.now|performance\.now|Math\.random|process\.hrtime)\b/;
const mayBeImpure =
  /^(core\/src\/(clock|random)\.ts|bench\/|cli\/|tests\/|scripts\/|examples\/|[^/]+\/src\/bench\/)|\.test\.ts$/;
/** The crates of the protocol's decisions and of the worlds that run them, but the worlds' command line. */
const mayDecide = /^native\/crates\/(chain\/src\/.*|sim\/src\/(?!(main|options|record|totals)\.rs$).*)\.rs$/;
const impureRust: [RegExp, string][] = [
  [/\b(std|core)::(time|fs|net|thread|process|env|os|io)\b/, 'time, chance and the system are handed in'],
  [/\bstd::\{/, 'name each import, so that this rule can read it'],
  [/\b(Instant|SystemTime)\b/, 'take the `Time` that is handed in'],
  [/\b(rand|getrandom|rustix|libc|tokio|parking_lot)::/, 'time, chance and the system are handed in'],
  [/\bRandomState\b/, 'take an order that is no chance, or only look things up'],
];

describe('the tree', () => {
  test.each(Object.entries(rooms))('%s imports only what it may', (room, allowed) => {
    const manifest = JSON.parse(read(`${room}/package.json`)) as { dependencies?: Record<string, string> };
    const used = Object.keys(manifest.dependencies ?? {})
      .filter((name) => name.startsWith('@catena/'))
      .map((name) => name.slice('@catena/'.length));
    expect(used.filter((name) => !allowed.includes(name))).toEqual([]);
  });

  test('no package is imported that the manifest does not name, and compute sees only the SDK', () => {
    const wrong: string[] = [];
    for (const name of typescript) {
      const room = name.split('/')[0] ?? '';
      if (!(room in rooms)) continue;
      for (const [, target] of read(name).matchAll(/\b(?:from|import)\s*\(?\s*'@catena\/([^']+)'/g)) {
        const [imported] = (target ?? '').split('/');
        if (imported !== room && !rooms[room]?.includes(imported ?? '')) wrong.push(`${name}: ${target}`);
        if (room === 'compute' && imported === 'fuse-client' && target !== 'fuse-client/sdk') {
          wrong.push(`${name}: ${target}`);
        }
      }
      if (
        /from '(\.\.\/)+(core|native|cluster-manager|meta-service|storage-service|fuse-client|compute|bench|cli)\//.test(
          read(name),
        )
      ) {
        wrong.push(`${name}: imports another room by a relative path`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('crates use only the crates they may, and only addon knows Node', () => {
    const manifests = files.filter((name) => /^native\/crates\/[^/]+\/Cargo\.toml$/.test(name));
    const wrong: string[] = [];
    for (const name of manifests) {
      const crate = name.split('/')[2] ?? '';
      if (!(crate in crates)) wrong.push(`${crate}: add it to the table of crates`);
      // What tests need beside it is their own business: a client's tests start real servers.
      const text = read(name).replace(/\[dev-dependencies\][^[]*/, '');
      for (const other of Object.keys(crates)) {
        if (new RegExp(`^${other}(\\.workspace| =)`, 'm').test(text) && !crates[crate]?.includes(other)) {
          wrong.push(`${crate} uses ${other}`);
        }
      }
      if (crate !== 'addon' && /^napi/m.test(text)) wrong.push(`${crate} knows Node`);
    }
    expect(wrong).toEqual([]);
  });

  test('a package with a single importer has only that one', () => {
    const wrong: string[] = [];
    for (const name of typescript) {
      for (const [, target] of read(name).matchAll(/\b(?:from|import)\s*\(?\s*'([^'.][^']*)'/g)) {
        const owner = Object.keys(singleImporter).find(
          (key) => target === key || target?.startsWith(`${key}/`),
        );
        if (owner !== undefined && !singleImporter[owner]?.test(name))
          wrong.push(`${name} imports ${target}`);
      }
      if (/\.node'/.test(read(name)) && name !== 'native/src/binding.ts' && name !== self)
        wrong.push(`${name} names a .node file`);
    }
    expect(wrong).toEqual([]);
  });

  test('every optional dependency of a locked package is locked too', () => {
    const lock = JSON.parse(read('package-lock.json')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>;
    };
    const missing: string[] = [];
    for (const [path, entry] of Object.entries(lock.packages)) {
      for (const name of Object.keys(entry.optionalDependencies ?? {})) {
        const places = [`${path}/node_modules/${name}`, `node_modules/${name}`];
        if (!places.some((place) => place in lock.packages)) missing.push(`${path}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });

  test('the lock file names no registry', () => {
    const hosts = [...read('package-lock.json').matchAll(/"resolved": "https?:\/\/([^/"]+)/g)].map(
      (match) => match[1],
    );
    expect([...new Set(hosts)].filter((host) => host !== 'registry.npmjs.org')).toEqual([]);
  });
});

describe('every file', () => {
  test('is at most 500 lines', () => {
    const long = sources.filter((name) => !/testdata/.test(name) && read(name).split('\n').length > 501);
    expect(long).toEqual([]);
  });

  // Formatters keep code to 110 columns, but leave comments and long strings alone.
  test('has comments of at most 120 columns, and no line of more than 160', () => {
    const columnsOf = (line: string): number => (/^\s*(\/\/|\*|#)/.test(line) ? 120 : 160);
    const wide = sources.flatMap((name) =>
      read(name)
        .split('\n')
        .flatMap((line, index) => {
          return line.length > columnsOf(line) && !/https?:/.test(line) ? [`${name}:${index + 1}`] : [];
        }),
    );
    expect(wide).toEqual([]);
  });

  test('holds nothing banned', () => {
    const found: string[] = [];
    for (const name of sources) {
      if (name === self) continue;
      read(name)
        .split('\n')
        .forEach((line, index) => {
          for (const [pattern, instead] of banned) {
            if (pattern.test(line)) found.push(`${name}:${index + 1}: ${pattern.source}: ${instead}`);
          }
        });
    }
    expect(found).toEqual([]);
  });

  test('takes time and chance from core', () => {
    const found = typescript.filter((name) => !mayBeImpure.test(name) && impure.test(read(name)));
    expect(found).toEqual([]);
  });

  test('decides in Rust without clock, chance, disk or socket', () => {
    const deciding = sources.filter((name) => mayDecide.test(name));
    expect(deciding.filter((name) => name.startsWith('native/crates/chain/')).length).toBeGreaterThan(10);
    expect(deciding.filter((name) => name.startsWith('native/crates/sim/')).length).toBeGreaterThan(10);
    const found = deciding.flatMap((name) =>
      read(name)
        .split('\n')
        .flatMap((line, index) =>
          impureRust
            .filter(([pattern]) => pattern.test(line.replace(/\/\/.*/, '')))
            .map(([, instead]) => `${name}:${index + 1}: ${instead}`),
        ),
    );
    expect(found).toEqual([]);
    // Nor can it by way of another crate.
    const [, dependencies = ''] =
      /\n\[dependencies\]([^[]*)/.exec(read('native/crates/chain/Cargo.toml')) ?? [];
    expect(dependencies.trim().split('\n')).toEqual(['wire.workspace = true']);
  });

  test('counts leases on the boot clock (P29)', () => {
    const ofProduct = /^native\/crates\/(?!chain\/|sim\/)[^/]+\/src\//;
    const withoutTests = (text: string): string => text.replace(/\n#\[cfg\(test\)\][\s\S]*$/, '');
    // Leases are compared as `chain::Time`.
    const makers = sources.filter(
      (name) => ofProduct.test(name) && /\bTime\(/.test(withoutTests(read(name))),
    );
    expect(makers).toEqual(['native/crates/client/src/chain_call.rs', 'native/crates/storage/src/clock.rs']);
    expect(makers.filter((name) => !read(name).includes('ClockId::Boottime'))).toEqual([]);
    const services = /^(cluster-manager|fuse-client|meta-service|native|storage-service)\//;
    const coarse = typescript.filter((name) => services.test(name) && /bootMsFromProc/.test(read(name)));
    expect(coarse.filter((name) => !name.endsWith('.test.ts'))).toEqual([]);
  });

  test.each([
    ['let now = std::time::Instant::now();', 2],
    ['use std::{fs, net};', 1],
    ['let cpu = rustix::time::clock_gettime(id);', 1],
    ['let roll = rand::random::<u64>();', 1],
    ['let now = self.now; // not std::time', 0],
  ])('finds what decides with more than it was handed: %s', (line, rules) => {
    const code = line.replace(/\/\/.*/, '');
    expect(impureRust.filter(([pattern]) => pattern.test(code))).toHaveLength(rules);
  });

  test('is in no bag', () => {
    const bags = files.filter(
      (name) => !isGenerated(name) && /(^|\/)(utils?|helpers?|common|misc)(\.ts|\.rs|\.mjs|\/)/.test(name),
    );
    expect(bags).toEqual([]);
  });

  test('names no path of a machine and no host of a registry', () => {
    const found = files.filter((name) => {
      if (/\.(png|parquet|bin)$/.test(name) || name === 'scripts/tidy.test.ts' || isGenerated(name))
        return false;
      return /(^|[^A-Za-z0-9_.])\/(work|farm|root|home)\//.test(read(name));
    });
    expect(found).toEqual([]);
  });

  test('is smaller than 256 KiB unless it is a lock or a protocol table', () => {
    const large = files.filter(
      (name) => !isGenerated(name) && readFileSync(join(root, name)).length > 256 * 1024,
    );
    expect(large).toEqual([]);
  });

  test('core stays small', () => {
    const core = sources.filter(
      (name) => /^core\/src\//.test(name) && !name.endsWith('.test.ts') && !/suite/.test(name),
    );
    expect(core.length).toBeLessThanOrEqual(25);
    const lines = core.reduce((total, name) => total + read(name).split('\n').length, 0);
    expect(lines).toBeLessThanOrEqual(4000);
  });

  test('unsafe code is only where it may be', () => {
    const unsafeRust = sources.filter(
      (name) =>
        name.endsWith('.rs') &&
        !/^native\/crates\/(addon\/|fuse\/|chunk-engine\/src\/disk\/direct\/|transport\/src\/tcp\/watermark\.rs|witness\/src\/operations\/mapping\.rs)/.test(
          name,
        ) &&
        /\bunsafe\b(?!_code)/.test(read(name)),
    );
    expect(unsafeRust).toEqual([]);
  });
});
