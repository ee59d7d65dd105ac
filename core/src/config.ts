// The configuration of a process: one TOML file against a schema. A key that is unknown, of the wrong type or
// out of bounds refuses to start, with one sentence. The commented file that people edit is rendered from the
// same schema.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { FsError, fromSystemError } from './errors.ts';
import { parseAddress } from './rpc/server.ts';

interface KeyBase<Type extends string, Value> {
  readonly type: Type;
  /** Absent: the file must give a value. */
  readonly default?: Value;
  readonly unit: string;
  /** One sentence: what it does, and why one would change it. */
  readonly reason: string;
  /** `cluster`: the same in every process, or things break. */
  readonly scope: 'process' | 'cluster';
}
export type IntegerKey = KeyBase<'integer', number> & { readonly min: number; readonly max: number };
export type BooleanKey = KeyBase<'boolean', boolean>;
export type TextKey = KeyBase<'text', string> & { readonly oneOf?: readonly string[] };
export type AddressKey = KeyBase<'address', string>;
export type TextListKey = KeyBase<'textList', readonly string[]> & {
  readonly min: number;
  readonly max: number;
  /** What each entry may be. */
  readonly oneOf?: readonly string[];
};
export type ConfigKey = IntegerKey | BooleanKey | TextKey | AddressKey | TextListKey;
export type ConfigSchema = Readonly<Record<string, ConfigKey>>;

type ValueOf<Key extends ConfigKey> = Key extends IntegerKey
  ? number
  : Key extends BooleanKey
    ? boolean
    : Key extends TextListKey
      ? readonly string[]
      : string;
export type ConfigOf<Schema extends ConfigSchema> = {
  readonly [Name in keyof Schema]: ValueOf<Schema[Name]>;
};

export function readConfig<Schema extends ConfigSchema>(schema: Schema, path: string): ConfigOf<Schema> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new FsError('BAD_CONFIG', fromSystemError(error, `reading ${path}`).detail, { cause: error });
  }
  return parseConfig(schema, text, basename(path));
}

/** What a file says, against no schema. */
export function parseValues(text: string, source: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const sentence = error.message.split('\n')[0] ?? '';
    throw new FsError('BAD_CONFIG', `${source}:${error.line}:${error.column}: ${sentence}`);
  }
}

export function parseConfig<Schema extends ConfigSchema>(
  schema: Schema,
  text: string,
  source: string,
): ConfigOf<Schema> {
  const given = parseValues(text, source);
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(schema, name)) continue;
    const near = nearest(name, Object.keys(schema));
    const hint =
      near === undefined ? `known keys: ${Object.keys(schema).join(', ')}` : `did you mean "${near}"?`;
    throw new FsError('BAD_CONFIG', `${source}: unknown key "${name}"; ${hint}`);
  }
  const config: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(schema)) {
    const value = given[name] ?? key.default;
    if (value === undefined) {
      throw new FsError('BAD_CONFIG', `${source}: the key "${name}" is missing (${key.unit}): ${key.reason}`);
    }
    const wrong = complaint(key, value);
    if (wrong !== undefined) throw new FsError('BAD_CONFIG', `${source}: "${name}" must be ${wrong}`);
    config[name] = value;
  }
  return config as ConfigOf<Schema>;
}

/** What a value should have been; undefined if it is right. */
function complaint(key: ConfigKey, value: unknown): string | undefined {
  const shown = JSON.stringify(value);
  switch (key.type) {
    case 'integer':
      if (typeof value === 'number' && Number.isInteger(value) && value >= key.min && value <= key.max)
        return undefined;
      return `a whole number of ${key.unit}, ${key.min} to ${key.max}, not ${shown}`;
    case 'boolean':
      return typeof value === 'boolean' ? undefined : `true or false, not ${shown}`;
    case 'text':
      if (typeof value !== 'string') return `a text in quotes, not ${shown}`;
      if (key.oneOf === undefined || key.oneOf.includes(value)) return undefined;
      return `one of ${key.oneOf.join(', ')}, not ${shown}`;
    case 'address':
      return typeof value === 'string' && isAddress(value)
        ? undefined
        : `an address "host:port", not ${shown}`;
    case 'textList': {
      const { min, max, unit, oneOf } = key;
      const isList = Array.isArray(value) && value.every((entry) => typeof entry === 'string');
      if (!isList || value.length < min || value.length > max)
        return `a list of ${min} to ${max} texts (${unit}), not ${shown}`;
      if (oneOf === undefined || value.every((entry) => oneOf.includes(entry))) return undefined;
      return `a list of ${oneOf.join(', ')}, not ${shown}`;
    }
  }
}

function isAddress(text: string): boolean {
  try {
    parseAddress(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * The commented file: every key with default, unit, bounds and reason; `values` are set, the rest stands as a
 * comment.
 */
export function renderConfig<Schema extends ConfigSchema>(
  schema: Schema,
  values: Partial<ConfigOf<Schema>> = {},
): string {
  const blocks = Object.entries(schema).map(([name, key]) => {
    const value = (values as Record<string, unknown>)[name];
    const comment = [`# ${key.reason}`, `# ${boundsOf(key)}; per ${key.scope}`];
    const usual =
      key.default === undefined ? `# ${name} = # no default` : `# ${name} = ${JSON.stringify(key.default)}`;
    return [...comment, value === undefined ? usual : `${name} = ${JSON.stringify(value)}`].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}

/** The configuration in effect, as a file. */
export function printConfig<Schema extends ConfigSchema>(schema: Schema, config: ConfigOf<Schema>): string {
  return renderConfig(schema, config);
}

function boundsOf(key: ConfigKey): string {
  const usual = key.default === undefined ? 'must be set' : `default ${JSON.stringify(key.default)}`;
  if (key.type === 'integer') return `${key.unit}, ${key.min} to ${key.max}, ${usual}`;
  if (key.type === 'text' && key.oneOf !== undefined) return `${key.oneOf.join(' | ')}, ${usual}`;
  if (key.type === 'textList') {
    const entries = key.oneOf?.join(' | ') ?? key.unit;
    return `${entries}, ${key.min} to ${key.max} of them, ${usual}`;
  }
  return `${key.unit}, ${usual}`;
}

function nearest(name: string, known: readonly string[]): string | undefined {
  const scored = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }));
  scored.sort((a, b) => a.distance - b.distance);
  const best = scored[0];
  return best !== undefined && best.distance <= 3 ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1]?.toLowerCase() === b[j - 1]?.toLowerCase() ? 0 : 1;
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + same));
    }
    row = next;
  }
  return row[b.length]!;
}
