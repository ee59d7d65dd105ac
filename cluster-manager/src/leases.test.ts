import { message } from '@catena/core';
import { describe, expect, test } from 'vitest';
import { Leases, leaseWithMarginMs } from './leases.ts';

const { NODE_STORAGE } = message.NodeKind;
const { LOCAL_OFFLINE, LOCAL_ONLINE, LOCAL_UPTODATE } = message.LocalState;
const none = { incarnation: 0n, pid: 0 };
const key = { kind: NODE_STORAGE, node: 3 };
const member = message.Member.fromPartial({ target: 31n, node: 3, incarnation: 10n });
const endMs = leaseWithMarginMs(5_000);

const report = (state: message.LocalState, chainVersion = 4n): message.TargetReport =>
  message.TargetReport.fromPartial({ target: 31n, chain: 1, chainVersion, state, complete: true });
const registration = (
  incarnation: bigint,
  pid = 77,
  targets: message.TargetReport[] = [],
): message.RegisterRequest => message.RegisterRequest.fromPartial({ ...key, incarnation, pid, targets });
const beat = (
  incarnation: bigint,
  sequence: bigint,
  state: message.LocalState = LOCAL_ONLINE,
): message.HeartbeatRequest =>
  message.HeartbeatRequest.fromPartial({ ...key, incarnation, sequence, targets: [report(state)] });
const exit = (pid: number, incarnation = 0n): message.ExitReportRequest =>
  message.ExitReportRequest.fromPartial({ ...key, pid, incarnation });

const first = {};
const second = {};

function registered(): Leases {
  const leases = new Leases({ leaseMs: 5_000, nowMs: 0 });
  leases.register(0, registration(10n), first, none);
  return leases;
}

describe('leases', () => {
  test('5 s, 1 % and 250 ms', () => expect(endMs).toBe(5_300));

  test('a silent node is alive until its lease has run out with the margin, and then gone', () => {
    const leases = registered();
    expect(leases.heartbeat(1_000, beat(10n, 1n), first)).toBe(true);
    expect(leases.fact(1_000 + endMs - 1, member)).toMatchObject({
      alive: true,
      gone: false,
      incarnation: 10n,
    });
    expect(leases.fact(1_000 + endMs, member)).toMatchObject({ alive: false, gone: true });
    // The same process can come back: its lease begins anew.
    expect(leases.heartbeat(20_000, beat(10n, 2n), first)).toBe(true);
    expect(leases.fact(20_000, member)).toMatchObject({ alive: true, gone: false });
  });

  test('a new manager removes nobody by silence until a lease and its margin have passed (P3)', () => {
    const leases = new Leases({ leaseMs: 5_000, nowMs: 100_000 });
    expect(leases.fact(100_000, member)).toMatchObject({ alive: false, gone: false, incarnation: 0n });
    expect(leases.fact(100_000 + endMs - 1, member).gone).toBe(false);
    expect(leases.fact(100_000 + endMs, member).gone).toBe(true);
  });

  test('a manager that was paused gives everybody the time of a lease, but does not wake the dead', () => {
    const leases = registered();
    for (let ms = 0; ms <= 4_000; ms += 100) leases.tick(ms);
    leases.tick(60_000);
    expect(leases.fact(60_000, member)).toMatchObject({ alive: true, gone: false });
    expect(leases.fact(60_000 + endMs - 1, member).gone).toBe(false);
    expect(leases.fact(60_000 + endMs, member).gone).toBe(true);
    for (let ms = 60_000; ms <= 70_000; ms += 100) leases.tick(ms);
    leases.tick(90_000);
    expect(leases.fact(90_000, member).gone).toBe(true);
  });

  test('ticks in time prolong nothing', () => {
    const leases = registered();
    for (let ms = 0; ms <= endMs; ms += 900) leases.tick(ms);
    expect(leases.fact(endMs, member).gone).toBe(true);
  });
});

describe('incarnations and sequences (R3)', () => {
  test('an older process is refused, a newer one takes its place and its reports are forgotten', () => {
    const leases = registered();
    leases.heartbeat(0, beat(10n, 1n, LOCAL_UPTODATE), first);
    expect(leases.fact(1, member)).toMatchObject({ state: LOCAL_UPTODATE, chainVersion: 4n, complete: true });
    expect(() => leases.register(1, registration(9n), second, none)).toThrow(/incarnation 10 has registered/);
    leases.register(1, registration(11n), second, none);
    expect(leases.fact(1, member)).toMatchObject({
      incarnation: 11n,
      alive: true,
      gone: false,
      state: LOCAL_OFFLINE,
      chainVersion: 0n,
      complete: false,
    });
    expect(() => leases.heartbeat(2, beat(10n, 2n, LOCAL_UPTODATE), first)).toThrow(
      /incarnation 11 has registered/,
    );
    expect(leases.fact(2, member).state).toBe(LOCAL_OFFLINE);
  });

  test('who has registered and not reported is unknown; who leaves a target out has it offline', () => {
    const leases = registered();
    expect(leases.fact(1, member)).toMatchObject({ incarnation: 0n, alive: true, gone: false });
    expect(leases.fact(1, { ...member, incarnation: 9n }).incarnation).toBe(10n);
    leases.heartbeat(1, { ...beat(10n, 1n), targets: [] }, first);
    expect(leases.fact(1, member)).toMatchObject({ incarnation: 10n, state: LOCAL_OFFLINE });
  });

  test('a node whose last target was removed has none, also after it registered again', () => {
    const leases = registered();
    leases.heartbeat(1, beat(10n, 1n, LOCAL_UPTODATE), first);
    expect(leases.reported()).toEqual([31n]);
    // A lost connection is no news of targets.
    leases.register(2, registration(10n), second, none);
    expect(leases.fact(2, member)).toMatchObject({ incarnation: 10n, state: LOCAL_UPTODATE });
    leases.heartbeat(3, { ...beat(10n, 1n), targets: [] }, second);
    expect(leases.reported()).toEqual([]);
    expect(leases.report(key, 31n)).toBeUndefined();
    expect(leases.fact(3, member)).toMatchObject({ state: LOCAL_OFFLINE, complete: false });
    leases.register(4, registration(10n), first, none);
    expect(leases.reported()).toEqual([]);
  });

  test('what a manager before this one stored counts too', () => {
    const leases = new Leases({ leaseMs: 5_000, nowMs: 0 });
    expect(() => leases.register(0, registration(9n), first, { incarnation: 10n, pid: 1 })).toThrow(/10/);
    leases.register(0, registration(10n), first, { incarnation: 10n, pid: 1 });
    expect(() => leases.register(0, registration(0n), first, none)).toThrow(/incarnation of 0/);
  });

  test('repeated, overtaken and foreign heartbeats change nothing and earn nothing', () => {
    const leases = registered();
    expect(leases.heartbeat(0, beat(10n, 5n, LOCAL_ONLINE), first)).toBe(true);
    expect(leases.heartbeat(4_000, beat(10n, 5n, LOCAL_UPTODATE), first)).toBe(false);
    expect(leases.heartbeat(4_000, beat(10n, 4n, LOCAL_UPTODATE), first)).toBe(false);
    expect(leases.fact(4_000, member).state).toBe(LOCAL_ONLINE);
    expect(leases.fact(endMs, member).gone).toBe(true);
    leases.register(4_100, registration(10n), second, none);
    expect(() => leases.heartbeat(4_200, beat(10n, 9n), first)).toThrow(/not registered on this connection/);
    expect(leases.heartbeat(4_200, beat(10n, 1n), second)).toBe(true);
    const stranger = message.HeartbeatRequest.fromPartial({
      kind: NODE_STORAGE,
      node: 8,
      incarnation: 1n,
      sequence: 1n,
    });
    expect(() => leases.heartbeat(0, stranger, first)).toThrow(/not registered/);
  });
});

describe('proven ends (P1 b)', () => {
  test('an exit report ends the process of that pid at once, and only that', () => {
    const leases = registered();
    expect(leases.exited(exit(76), none)).toBe(false);
    expect(leases.fact(1, member)).toMatchObject({ alive: true, gone: false });
    expect(leases.exited(exit(77), none)).toBe(true);
    expect(leases.fact(1, member)).toMatchObject({ alive: false, gone: true });
    expect(() => leases.heartbeat(2, beat(10n, 9n), first)).toThrow(/its end was reported/);
    expect(() => leases.register(2, registration(10n), second, none)).toThrow(/its end was reported/);
    leases.register(3, registration(11n, 78), second, none);
    expect(leases.exited(exit(77), none)).toBe(false);
    expect(leases.fact(4, member)).toMatchObject({ alive: true, gone: false });
    expect(leases.exited(exit(0, 10n), none)).toBe(false);
    expect(leases.exited(exit(0, 11n), none)).toBe(true);
    expect(leases.fact(4, member).gone).toBe(true);
  });

  test('a manager that has not heard the node knows it by the stored pid', () => {
    const leases = new Leases({ leaseMs: 5_000, nowMs: 0 });
    expect(leases.exited(exit(77), none)).toBe(false);
    expect(leases.exited(exit(77), { incarnation: 10n, pid: 76 })).toBe(false);
    expect(leases.fact(0, member).gone).toBe(false);
    expect(leases.exited(exit(77), { incarnation: 10n, pid: 77 })).toBe(true);
    expect(leases.fact(0, member)).toMatchObject({ gone: true, alive: false });
    expect(leases.fact(0, { ...member, incarnation: 11n }).gone).toBe(false);
  });

  test('a lease that is given back ends with its last report; one of an older process is ignored', () => {
    const leases = registered();
    leases.heartbeat(0, beat(10n, 1n, LOCAL_UPTODATE), first);
    const giveBack = (incarnation: bigint): message.GiveBackRequest =>
      message.GiveBackRequest.fromPartial({ ...key, incarnation, targets: [report(LOCAL_ONLINE, 9n)] });
    leases.giveBack(giveBack(9n), none);
    expect(leases.fact(1, member)).toMatchObject({ alive: true, chainVersion: 4n });
    leases.giveBack(giveBack(10n), none);
    expect(leases.fact(1, member)).toMatchObject({ alive: false, gone: true, chainVersion: 9n });
  });

  test('a lease that is given back to a manager that has not heard the node is known by what is stored', () => {
    const leases = new Leases({ leaseMs: 5_000, nowMs: 0 });
    const stored = { incarnation: 10n, pid: 77 };
    const giveBack = (incarnation: bigint): message.GiveBackRequest =>
      message.GiveBackRequest.fromPartial({ ...key, incarnation });
    leases.giveBack(giveBack(9n), stored);
    leases.giveBack(giveBack(0n), none);
    expect(leases.fact(0, member).gone).toBe(false);
    leases.giveBack(giveBack(10n), stored);
    expect(leases.fact(0, member)).toMatchObject({ gone: true, alive: false });
  });

  test('the end of a process that never registered says nothing of the one that did', () => {
    const leases = registered();
    expect(leases.exited(exit(0, 11n), none)).toBe(false);
    expect(leases.fact(1, member)).toMatchObject({ alive: true, gone: false });
    expect(leases.heartbeat(1, beat(10n, 1n), first)).toBe(true);
  });

  test('suspicion is not death', () => {
    const leases = registered();
    leases.suspected(1, key);
    expect(leases.view(1, key)).toMatchObject({ suspected: true, alive: true });
    expect(leases.fact(1, member)).toMatchObject({ alive: true, gone: false });
    leases.heartbeat(2, beat(10n, 1n), first);
    expect(leases.view(2, key).suspected).toBe(false);
  });
});
