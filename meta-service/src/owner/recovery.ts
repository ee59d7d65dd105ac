// From what the last process left to a state that can be served: the log above the store's position is
// applied (P15), then what lives in memory alone is built from the store. Refuses data of another cluster or
// of a newer release.
import { strict as assert } from 'node:assert';
import {
  type AppendLog,
  type Clock,
  FsError,
  featureLevelOldest,
  type KeyValueStore,
  type LogFloor,
  message,
} from '@catena/core';
import { directoryBytes, rootInode } from '../operations/inodes.ts';
import { emptyInode, inodeVersion } from '../state/inode-codec.ts';
import * as keys from '../state/keys.ts';
import { decodeLogRecord } from '../state/log-record.ts';
import type { State } from '../state/state.ts';
import * as tables from '../state/tables.ts';
import { ClientSession } from './clients.ts';
import { highestAnswered } from './greeting.ts';

export const counterNames = { ordinals: 'ordinals', files: 'files', incarnation: 'incarnation' } as const;

/** The first inode that is not the root. */
export const firstOrdinal = 2n;

/** Changes that replay gathers into one write. */
const replayChangesMax = 16_384;

/** Where the store stands, for the log's opening. */
export function floorOf(store: KeyValueStore): LogFloor {
  const bytes = store.get(keys.keyBytes(keys.positionKey));
  if (bytes === undefined) return { number: store.position, epoch: 0n };
  const { epoch, number } = tables.positions.decode(bytes);
  assert(number === store.position, `the store is at ${store.position}, its record says ${number}`);
  return { number, epoch };
}

/** Makes a new store this cluster's, or checks that it is, and that this release can read it. */
export async function claim(
  store: KeyValueStore,
  cluster: string,
  known: number,
): Promise<message.MetadataStoreRecord> {
  const bytes = store.get(keys.keyBytes(keys.identityKey));
  if (bytes === undefined) {
    const identity = { recordVersion: tables.recordVersion, cluster, featureLevel: featureLevelOldest };
    const change = {
      key: keys.keyBytes(keys.identityKey),
      value: tables.encode(tables.identities, identity),
    };
    await store.write([change], store.position);
    return identity;
  }
  const found = tables.identities.decode(bytes);
  if (found.featureLevel > known) {
    throw new FsError(
      'NEWER_DATA',
      `the metadata have feature level ${found.featureLevel}, known is ${known}`,
    );
  }
  if (cluster !== '' && found.cluster !== '' && found.cluster !== cluster) {
    throw new FsError('WRONG_CLUSTER', `the metadata belong to "${found.cluster}", this is "${cluster}"`);
  }
  return found;
}

/** Applies the records that the store does not hold. Returns how many there were. */
export async function replay(store: KeyValueStore, log: AppendLog): Promise<number> {
  let records = 0;
  let expected = store.position + 1n;
  let epoch = 0n;
  let waiting = new Map<string, Uint8Array | undefined>();
  const write = async (): Promise<void> => {
    const position = { recordVersion: tables.recordVersion, epoch, number: expected - 1n };
    const list: { key: Buffer; value: Uint8Array | undefined }[] = [];
    for (const [key, value] of waiting) list.push({ key: keys.keyBytes(key), value });
    list.push({ key: keys.keyBytes(keys.positionKey), value: tables.encode(tables.positions, position) });
    waiting = new Map();
    await store.write(list, position.number);
  };
  for await (const record of log.read(expected)) {
    if (record.number !== expected) {
      throw new FsError(
        'CORRUPT',
        `the metadata log goes on at ${record.number}, the store needs ${expected}`,
      );
    }
    const { changes } = decodeLogRecord(record.body);
    for (const { key, value } of changes) waiting.set(key.toString('latin1'), value);
    expected++;
    epoch = record.epoch;
    records++;
    if (waiting.size >= replayChangesMax) await write();
  }
  if (records > 0) await write();
  return records;
}

export interface RootOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Puts the root and the counters into a store that has none. The caller has replayed the log. */
export async function makeRoot(store: KeyValueStore, owner: RootOwner, nowNs: bigint): Promise<void> {
  const key = keys.keyBytes(keys.inodeKey(rootInode));
  if (store.get(key) !== undefined) return;
  if (store.position > 0n) throw new FsError('CORRUPT', 'the metadata store has no root directory');
  const root = emptyInode();
  Object.assign(root, {
    recordVersion: inodeVersion,
    id: rootInode,
    type: message.FileType.FILE_DIRECTORY,
    ...owner,
    nlink: 2,
    length: directoryBytes,
    parent: rootInode,
    atimeNs: nowNs,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    createdNs: nowNs,
    change: 1n,
  });
  const counter = (name: string, value: bigint): { key: Buffer; value: Uint8Array } => ({
    key: keys.keyBytes(keys.counterKey(name)),
    value: tables.encode(tables.counters, { recordVersion: tables.recordVersion, value }),
  });
  await store.write(
    [
      { key, value: tables.encode(tables.inodes, root) },
      counter(counterNames.files, 1n),
      counter(counterNames.ordinals, firstOrdinal),
    ],
    store.position,
  );
}

export function counterValue(state: State, name: string): bigint {
  const record = state.stored(tables.counters, keys.counterKey(name));
  if (record === undefined) throw new FsError('CORRUPT', `the metadata store has no counter "${name}"`);
  return record.value;
}

/**
 * Number of this process for the manager: above every earlier one, also when the clock went back, and when the
 * store was emptied in between. Stores of the first release do not hold it.
 */
export function nextIncarnation(state: State, wallNs: bigint): bigint {
  const stored = state.stored(tables.counters, keys.counterKey(counterNames.incarnation));
  const next = (stored?.value ?? 0n) + 1n;
  const wallMs = wallNs / 1_000_000n;
  return next > wallMs ? next : wallMs;
}

/** What lives in memory alone. */
export interface Rebuilt {
  readonly clients: ClientSession[];
  readonly truncations: bigint[];
}

export function rebuild(state: State, clock: Clock): Rebuilt {
  state.fileCount = counterValue(state, counterNames.files);
  for (const [, bytes] of all(state, keys.tableTag.session)) {
    const stored = tables.sessions.decode(bytes);
    state.openFiles.add({ ...stored, logged: true, timesSetNs: 0n });
  }
  const clients: ClientSession[] = [];
  const known = [...all(state, keys.tableTag.client)].map(([, bytes]) => tables.clients.decode(bytes));
  for (const { client, host } of known) {
    const id = keys.clientText(client);
    const highest = highestAnswered(state, id);
    // Never 0: the client takes a session that has seen none of its numbers for a new one.
    clients.push(new ClientSession(id, host, clock.nowMs(), highest > 0n ? highest : 1n));
  }
  const truncations: bigint[] = [];
  for (const [, bytes] of all(state, keys.tableTag.truncation)) {
    const { inode } = tables.truncations.decode(bytes);
    truncations.push(inode);
    state.truncating.add(inode);
  }
  return { clients, truncations };
}

function all(state: State, tag: string): Iterable<readonly [string, Uint8Array]> {
  return state.store.range(tag, keys.prefixEnd(tag));
}
