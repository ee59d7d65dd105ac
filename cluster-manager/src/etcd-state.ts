// The manager's state in etcd: one key for each node, chain, table and client, so that a change costs what it
// changes; everything else of the record is under one key. The position is the routing version.
import { FsError, type KeyValueChange, type KeyValueStore, message } from '@catena/core';
import { nameOf } from './leases.ts';
import { requireKnown, type StateStore } from './state.ts';

type Record = message.ManagerRecord;

const rest = 'record';
const fenced = 'fenced';

/** Every key of a record, with what its value is made of: the same object has the same bytes. */
function entriesOf(record: Record): Map<string, readonly [value: unknown, encode: () => Uint8Array]> {
  const entries = new Map<string, readonly [unknown, () => Uint8Array]>();
  for (const node of record.nodes) {
    const name = nameOf({ kind: node.kind, node: node.id });
    entries.set(`node/${name}`, [node, () => message.Node.encode(node).finish()]);
  }
  for (const chain of record.chains)
    entries.set(`chain/${chain.id}`, [chain, () => message.Chain.encode(chain).finish()]);
  for (const table of record.tables)
    entries.set(`table/${table.id}`, [table, () => message.ChainTable.encode(table).finish()]);
  for (const id of record.clients) entries.set(`client/${id.toString('hex')}`, [true, () => id]);
  for (const one of record.fencingClients) {
    const name = `fencing/${one.client.toString('hex')}`;
    entries.set(name, [one.version, () => message.FencingClient.encode(one).finish()]);
  }
  const { fencedClients } = record;
  entries.set(fenced, [
    fencedClients.map((id) => id.toString('hex')).join(),
    () => message.ManagerRecord.encode(message.ManagerRecord.fromPartial({ fencedClients })).finish(),
  ]);
  const others = {
    ...record,
    routingVersion: 0n,
    nodes: [],
    chains: [],
    tables: [],
    clients: [],
    fencingClients: [],
    fencedClients: [],
  };
  const bytes = message.ManagerRecord.encode(others).finish();
  entries.set(rest, [Buffer.from(bytes).toString('latin1'), () => bytes]);
  return entries;
}

export class EtcdState implements StateStore {
  readonly #store: KeyValueStore;
  #saved: ReturnType<typeof entriesOf>;

  /** `saved`: what the store holds. */
  constructor(store: KeyValueStore, saved: Record | undefined) {
    this.#store = store;
    this.#saved = saved === undefined ? new Map() : entriesOf(saved);
  }

  async save(record: Record): Promise<void> {
    const entries = entriesOf(record);
    const changes: KeyValueChange[] = [];
    for (const [name, [value, encode]] of entries) {
      if (this.#saved.get(name)?.[0] !== value) changes.push({ key: Buffer.from(name), value: encode() });
    }
    for (const name of this.#saved.keys()) {
      if (!entries.has(name)) changes.push({ key: Buffer.from(name), value: undefined });
    }
    await this.#store.write(changes, record.routingVersion);
    this.#saved = entries;
  }
}

/** Undefined if there is no cluster. Refuses the state of a newer release. */
export function loadEtcdState(store: KeyValueStore): Record | undefined {
  const stored = store.get(Buffer.from(rest));
  if (stored === undefined) return undefined;
  const record = message.ManagerRecord.decode(stored);
  requireKnown(record, 'the state in etcd');
  const values = (folder: string): Buffer[] => {
    const range = { from: Buffer.from(`${folder}/`), to: Buffer.from(`${folder}0`) }; // '0' follows '/'
    return [...store.range(range)].map(([, value]) => value);
  };
  const byNumber = (a: { id: number }, b: { id: number }): number => a.id - b.id;
  const fencedBytes = store.get(Buffer.from(fenced));
  if (fencedBytes === undefined) throw new FsError('CORRUPT', 'the state in etcd has lost a key');
  return {
    ...record,
    routingVersion: store.position,
    nodes: values('node')
      .map((bytes) => message.Node.decode(bytes))
      .sort((a, b) => a.kind - b.kind || byNumber(a, b)),
    chains: values('chain')
      .map((bytes) => message.Chain.decode(bytes))
      .sort(byNumber),
    tables: values('table')
      .map((bytes) => message.ChainTable.decode(bytes))
      .sort(byNumber),
    clients: values('client'),
    fencingClients: values('fencing').map((bytes) => message.FencingClient.decode(bytes)),
    fencedClients: message.ManagerRecord.decode(fencedBytes).fencedClients,
  };
}
