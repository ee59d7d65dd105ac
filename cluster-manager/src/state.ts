// The manager's state on one machine: one record in one file, replaced as a whole and on the medium before
// anybody is told (P3). One process at a time: the lock of the directory is also the manager's role.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { FsError, featureLevel, fromSystemError, message, type SpaceReserve } from '@catena/core';

/**
 * The newest stored record that this release knows; an older one is read as it is. 2: chains name the manager processes
 * that made them, which a release before would drop, so that their servers believed no version of it.
 */
export const recordVersion = 2;

const fileName = 'state';
const magic = 0x53544d43; // "CMTS"
const headerBytes = 12;

export interface StateStore {
  /** On the medium when it resolves. An error leaves the old state in place. */
  save(record: message.ManagerRecord): Promise<void>;
}

export function hasState(directory: string): boolean {
  return existsSync(join(directory, fileName));
}

/** Refuses a state that is missing, damaged, or of a newer release. The caller holds the directory's lock. */
export function loadState(directory: string): message.ManagerRecord {
  const path = join(directory, fileName);
  if (!hasState(directory)) {
    throw new FsError('BAD_CONFIG', `no cluster in ${directory}; make one with: catena init`);
  }
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw fromSystemError(error, `reading ${path}`);
  }
  const body = bytes.subarray(headerBytes);
  const whole =
    bytes.length >= headerBytes && bytes.readUInt32LE(0) === magic && bytes.readUInt32LE(4) === body.length;
  if (!whole || crc32(body) !== bytes.readUInt32LE(8)) {
    throw new FsError(
      'CORRUPT',
      `${path} is damaged; restore it from a copy that is as new as the last change of a chain: servers refuse an older one`,
    );
  }
  const record = message.ManagerRecord.decode(body);
  requireKnown(record, path);
  return record;
}

/** NEWER_DATA if a newer release wrote it (P27). */
export function requireKnown(record: message.ManagerRecord, where: string): void {
  if (record.recordVersion <= recordVersion && record.featureLevel <= featureLevel) return;
  throw new FsError(
    'NEWER_DATA',
    `${where} has record version ${record.recordVersion} and feature level ${record.featureLevel}; ` +
      `this release knows ${recordVersion} and ${featureLevel}`,
  );
}

/** With a reserve it is saved on a full disk, too (P8). */
export function openStateStore(directory: string, reserve?: SpaceReserve): StateStore {
  return {
    async save(record) {
      if (reserve === undefined) {
        save(directory, record);
        return;
      }
      reserve.refill();
      reserve.withRoom(() => save(directory, record));
    },
  };
}

function save(directory: string, record: message.ManagerRecord): void {
  const body = message.ManagerRecord.encode(record).finish();
  const bytes = Buffer.alloc(headerBytes + body.length);
  bytes.writeUInt32LE(magic, 0);
  bytes.writeUInt32LE(body.length, 4);
  bytes.writeUInt32LE(crc32(body), 8);
  bytes.set(body, headerBytes);
  const path = join(directory, fileName);
  try {
    const fd = openSync(`${path}.new`, 'w', 0o600);
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(fd, bytes, written);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(`${path}.new`, path);
    const folder = openSync(directory, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (error) {
    throw fromSystemError(error, `writing ${path}`);
  }
}
