import { featureLevel, MemoryStoreMedium, message, openMemoryStore } from '@catena/core';
import { expect, test } from 'vitest';
import { EtcdState, loadEtcdState } from './etcd-state.ts';
import { recordVersion } from './state.ts';

const id = (number: number): Buffer => Buffer.alloc(16, number);
const record = message.ManagerRecord.fromPartial({
  recordVersion,
  featureLevel,
  cluster: 'c',
  routingVersion: 7n,
  nodes: [
    { id: 1, kind: message.NodeKind.NODE_STORAGE, address: 'a:1' },
    { id: 12, kind: message.NodeKind.NODE_STORAGE },
    { id: 1, kind: message.NodeKind.NODE_META, address: 'm:1' },
  ],
  chains: [1, 2, 10].map((chain) => ({ id: chain, version: 3n, last: [5n], members: [{ target: 5n }] })),
  tables: [{ id: 1, version: 1, chains: [1, 2, 10] }],
  targetsPerDisk: 4,
  clients: [id(1), id(2)],
  fencedClients: [id(9), id(4)],
  fencingClients: [{ client: id(3), version: 6n }],
});

test('what was saved is loaded, by another process and after changes of every kind', async () => {
  const medium = new MemoryStoreMedium();
  expect(loadEtcdState(openMemoryStore(medium))).toBeUndefined();
  const state = new EtcdState(openMemoryStore(medium), undefined);
  await state.save(record);
  expect(loadEtcdState(openMemoryStore(medium))).toEqual(record);
  const changed = {
    ...record,
    routingVersion: 8n,
    nodes: [record.nodes[0]!, { ...record.nodes[1]!, alive: true }],
    chains: [record.chains[0]!, { ...record.chains[1]!, version: 4n }, record.chains[2]!],
    tables: [{ id: 1, version: 2, chains: [1, 2, 10, 11], lengths: [3] }],
    targetsPerDisk: 5,
    clients: [id(2), id(5)],
    fencingClients: [],
    fencedClients: [id(4), id(3)],
  };
  const loaded = loadEtcdState(openMemoryStore(medium))!;
  await new EtcdState(openMemoryStore(medium), loaded).save(changed);
  expect(loadEtcdState(openMemoryStore(medium))).toEqual(changed);
});

test('a change writes what it changes', async () => {
  const store = openMemoryStore(new MemoryStoreMedium());
  const written: string[][] = [];
  const write = store.write.bind(store);
  store.write = (changes, position) => {
    written.push(changes.map(({ key }) => Buffer.from(key).toString()));
    return write(changes, position);
  };
  const state = new EtcdState(store, undefined);
  await state.save(record);
  const [first, second, third] = record.chains as [message.Chain, message.Chain, message.Chain];
  const next = { ...record, routingVersion: 8n, chains: [first, { ...second, version: 4n }, third] };
  await state.save(next);
  await state.save({ ...next, routingVersion: 9n, clients: [id(1)], fencingClients: [] });
  const grown = { ...next, routingVersion: 10n, clients: [id(1)], fencingClients: [] };
  await state.save({ ...grown, tables: [{ id: 1, version: 2, chains: [1, 2, 10, 11], lengths: [3] }] });
  const fenced = id(3).toString('hex');
  expect(written.slice(1)).toEqual([
    ['chain/2'],
    [`client/${id(2).toString('hex')}`, `fencing/${fenced}`],
    ['table/1'],
  ]);
});

test('a state of a newer release is refused (P27)', async () => {
  const medium = new MemoryStoreMedium();
  await new EtcdState(openMemoryStore(medium), undefined).save({ ...record, featureLevel: featureLevel + 1 });
  expect(() => loadEtcdState(openMemoryStore(medium))).toThrow(/feature level/);
});
