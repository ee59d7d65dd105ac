// Loads the native addon, on first use and nowhere else, so that code that needs no native part runs without
// a build. It knows the raw functions of native/crates/addon; the faces beside it give them their types.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Binding } from './raw.ts';

let loaded: Binding | undefined;

export function binding(): Binding {
  loaded ??= load();
  return loaded;
}

function load(): Binding {
  const path = fileURLToPath(new URL('../catena.node', import.meta.url));
  try {
    return createRequire(import.meta.url)(path) as Binding;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the native addon cannot be loaded from ${path}; run: npm run build:native (${reason})`, {
      cause: error,
    });
  }
}
