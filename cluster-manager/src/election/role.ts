// The role of the one manager that decides: a key in etcd under a lease, taken by whoever makes it (P3). Its
// revision fences the state: every write compares it.
import { type Clock, type Etcd, type EtcdCondition, FsError, message, type Random } from '@catena/core';

/** Shorter is not to be had: etcd makes 2 s of it. A takeover must end before the leases of storage nodes do. */
const roleTtlSeconds = 2;
/** Of the lease, on our clock: both clocks differ by 1 % at most, and a grant takes a moment to be written. */
export const roleMarginMs = 100;
const recordVersion = 1;

export interface TakenRole {
  readonly fence: EtcdCondition;
  readonly lease: string;
  /** On the boot clock, counted from the sending of what earned it. */
  readonly validUntilMs: number;
}

export interface RoleOptions {
  readonly etcd: Etcd;
  /** Everything of the cluster in etcd is below it. */
  readonly prefix: string;
  /** Where this manager serves. */
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** The role if it was free; else the address of the one who has it. UNREACHABLE: etcd does not answer. */
export async function takeRole(options: RoleOptions): Promise<TakenRole | { readonly leader: string }> {
  const { etcd, prefix, address, clock, random } = options;
  const key = Buffer.from(`${prefix}/role`);
  const held = await etcd.get(key);
  if (held !== undefined) return { leader: addressIn(held.value) };
  const sentMs = clock.nowMs();
  const { id: lease, ttlSeconds } = await etcd.grantLease(roleTtlSeconds);
  const value = Buffer.from(
    message.ManagerRole.encode({ recordVersion, address, holder: random.bytes(16) }).finish(),
  );
  // Whether an unanswered try was carried out is seen by who has the key then.
  await etcd.write([{ key, revision: 0n }], [{ key, value, lease }]).catch(ignoreUnreachable);
  const now = await etcd.get(key);
  if (now?.value.equals(value) === true) {
    const validUntilMs = sentMs + ttlSeconds * 1000 - roleMarginMs;
    return { fence: { key, revision: now.revision }, lease, validUntilMs };
  }
  await etcd.revokeLease(lease).catch(ignoreUnreachable);
  return { leader: now === undefined ? '' : addressIn(now.value) };
}

function addressIn(value: Buffer): string {
  return message.ManagerRole.decode(value).address;
}

function ignoreUnreachable(error: unknown): void {
  if (!(error instanceof FsError) || error.code !== 'UNREACHABLE') throw error;
}
