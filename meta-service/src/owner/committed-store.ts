// The key-value store of core behind the face that the state reads through.
import type { KeyValueStore } from '@catena/core';
import { keyBytes } from '../state/keys.ts';
import type { CommittedStore } from '../state/state.ts';

export function committedStore(store: KeyValueStore): CommittedStore {
  return {
    get: (key) => store.get(keyBytes(key)),
    *range(from, to) {
      for (const [key, value] of store.range({ from: keyBytes(from), to: keyBytes(to) })) {
        yield [key.toString('latin1'), value];
      }
    },
  };
}
