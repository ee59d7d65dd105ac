// Checks that what came over the wire has the shape it should have. A message of another shape is
// BAD_MESSAGE, with the place in it: nothing half-understood is ever run.
import { FsError } from '@catena/core';

export type Check<T> = (value: unknown, at: string) => T;

function wrong(at: string, expected: string): never {
  throw new FsError('BAD_MESSAGE', `${at} is not ${expected}`);
}

export const text: Check<string> = (value, at) => (typeof value === 'string' ? value : wrong(at, 'text'));
export const flag: Check<boolean> = (value, at) =>
  typeof value === 'boolean' ? value : wrong(at, 'true or false');
/** A count or a position: a whole number that JavaScript holds exactly. */
export const count: Check<number> = (value, at) =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : wrong(at, 'a count');
export const seconds: Check<number> = (value, at) =>
  Number.isFinite(value) && (value as number) >= 0 ? (value as number) : wrong(at, 'a time');

export function list<T>(item: Check<T>): Check<T[]> {
  return (value, at) =>
    Array.isArray(value) ? value.map((entry, index) => item(entry, `${at}[${index}]`)) : wrong(at, 'a list');
}

export function maybe<T>(check: Check<T>): Check<T | undefined> {
  return (value, at) => (value === undefined || value === null ? undefined : check(value, at));
}

export function oneOf<const T extends string>(values: readonly T[]): Check<T> {
  return (value, at) =>
    values.includes(value as T) ? (value as T) : wrong(at, `one of ${values.join(', ')}`);
}

type Shape = Readonly<Record<string, Check<unknown>>>;
export type Checked<S extends Shape> = { [K in keyof S]: ReturnType<S[K]> };

/** Fields that the shape does not name are dropped. */
export function object<S extends Shape>(shape: S): Check<Checked<S>> {
  return (value, at) => {
    if (typeof value !== 'object' || value === null) wrong(at, 'an object');
    const fields = value as Record<string, unknown>;
    const checked = Object.entries(shape).map(([key, check]) => [key, check(fields[key], `${at}.${key}`)]);
    return Object.fromEntries(checked) as Checked<S>;
  };
}

/** Objects that their field `kind` tells apart. */
export function variants<T>(shapes: Readonly<Record<string, Check<unknown>>>): Check<T> {
  return (value, at) => {
    const kind = (value as { kind?: unknown } | null)?.kind;
    const check = typeof kind === 'string' && Object.hasOwn(shapes, kind) ? shapes[kind] : undefined;
    if (check === undefined) wrong(at, `one of the kinds ${Object.keys(shapes).join(', ')}`);
    return { ...(check(value, at) as object), kind } as T;
  };
}

export function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new FsError('BAD_MESSAGE', `no JSON: ${(error as Error).message}`);
  }
}
