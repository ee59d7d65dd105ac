import { message } from '@catena/core';
import { expect, test } from 'vitest';
import { Clients, clientsMax, fencedMax } from './clients.ts';

const id = (number: number): Buffer => Buffer.alloc(16, 0).fill(`${number}`.padStart(16, '0'));
const text = (number: number): string => id(number).toString('hex');
const registration = (number: number, pid = 1, incarnation = 0n): message.RegisterRequest =>
  message.RegisterRequest.fromPartial({
    header: { client: id(number) },
    ...{ pid, incarnation, address: 'somewhere' },
  });
const beat = (number: number, sequence: bigint): message.HeartbeatRequest =>
  message.HeartbeatRequest.fromPartial({ header: { client: id(number) }, sequence });
const connection = {};
const origin = { connection, host: 'a' };
const endMs = 10_350;

function clients(live: number[] = [], fenced: number[] = []): Clients {
  return new Clients({ leaseMs: 10_000, nowMs: 0, live: live.map(id), fenced: fenced.map(id) });
}

test('a client lives while its heartbeats come, and is fenced for ever when its lease has run out', () => {
  const all = clients();
  expect(all.register(0, registration(1), origin)).toBe(true);
  expect(all.register(500, registration(1), origin)).toBe(false);
  expect(all.heartbeat(4_000, beat(1, 1n), connection)).toBe(true);
  expect(all.heartbeat(9_000, beat(1, 1n), connection)).toBe(false);
  for (let ms = 0; ms < 4_000 + endMs; ms += 900) expect(all.tick(ms)).toEqual([]);
  expect(all.tick(4_000 + endMs)).toEqual([text(1)]);
  all.fence([text(1)]);
  expect(all.tick(5_000 + endMs)).toEqual([]);
  expect(() => all.heartbeat(20_000, beat(1, 2n), connection)).toThrow(/fenced/);
  expect(() => all.register(20_000, registration(1), origin)).toThrow(/fenced/);
  expect(all.fencedIds()).toEqual([text(1)]);
});

test('an id that nobody registered is fenced; another connection must register', () => {
  const all = clients();
  expect(() => all.heartbeat(0, beat(5, 1n), connection)).toThrow(/fenced/);
  all.register(0, registration(5), origin);
  expect(() => all.heartbeat(0, beat(5, 1n), {})).toThrow(/register first/);
  expect(() => all.register(0, message.RegisterRequest.fromPartial({}), origin)).toThrow(
    /client id of 0 bytes/,
  );
});

test('a new manager keeps those that were stored for the time of a lease', () => {
  const all = clients([1, 2], [3]);
  expect(all.register(1_000, registration(1), origin)).toBe(false);
  expect(() => all.register(1_000, registration(3), origin)).toThrow(/fenced/);
  for (let ms = 0; ms < endMs; ms += 900) expect(all.tick(ms)).toEqual([]);
  expect(all.tick(endMs)).toEqual([text(2)]);
});

test('after a pause of the manager everybody who lived has the time of a lease', () => {
  const all = clients();
  all.register(0, registration(1), origin);
  all.tick(900);
  expect(all.tick(50_000)).toEqual([]);
  expect(all.tick(50_900)).toEqual([]);
  for (let ms = 50_900; ms < 50_000 + endMs; ms += 900) expect(all.tick(ms)).toEqual([]);
  expect(all.tick(50_000 + endMs)).toEqual([text(1)]);
});

test('an exit report finds the clients of that process on that host', () => {
  const all = clients();
  all.register(0, registration(1, 70), origin);
  all.register(0, registration(2, 70), { connection, host: 'b' });
  all.register(0, registration(3, 71), origin);
  expect(all.ofProcess({ pid: 70, incarnation: 0n }, 'a')).toEqual([text(1)]);
  // The same pid in another container of the host, and one that does not say when it started.
  all.register(0, registration(5, 80, 1_000n), origin);
  all.register(0, registration(6, 80, 2_000n), origin);
  all.register(0, registration(7, 80), origin);
  expect(all.ofProcess({ pid: 80, incarnation: 2_000n }, 'a')).toEqual([text(6), text(7)]);
  expect(all.ofProcess({ pid: 80, incarnation: 0n }, 'a')).toEqual([text(5), text(6), text(7)]);
  expect(all.ofHeader(message.RequestHeader.fromPartial({ client: id(3) }))).toEqual([text(3)]);
  expect(all.ofHeader(message.RequestHeader.fromPartial({ client: id(4) }))).toEqual([]);
});

test('an id that was registered before and does not live was fenced, however long ago', () => {
  const all = clients();
  expect(all.register(0, registration(1), origin)).toBe(true);
  expect(all.register(0, { ...registration(1), again: true }, origin)).toBe(false);
  all.fence([text(1), ...Array.from({ length: fencedMax }, (_, index) => text(index + 2))]);
  expect(all.fencedIds()).not.toContain(text(1));
  expect(() => all.register(0, { ...registration(1), again: true }, origin)).toThrow(/fenced/);
});

test('both sets are bounded', () => {
  const all = clients(Array.from({ length: clientsMax }, (_, index) => index));
  expect(() => all.register(0, registration(clientsMax), origin)).toThrow(/65536 clients/);
  expect(all.register(0, registration(5), origin)).toBe(false);
  all.fence(Array.from({ length: fencedMax + 10 }, (_, index) => text(index)));
  expect(all.fencedIds()).toHaveLength(fencedMax);
  expect(all.fencedIds()[0]).toBe(text(10));
  expect(all.size).toBe(clientsMax - fencedMax - 10);
});
