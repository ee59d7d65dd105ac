import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { FsError } from './errors.ts';
import { type AllocateBlocks, reservePieceBytes, SpaceReserve } from './space-reserve.ts';

const folder = mkdtempSync(join(tmpdir(), 'catena-reserve-'));
const path = join(folder, 'reserve');
afterEach(() => rmSync(path, { force: true }));
afterAll(() => rmSync(folder, { recursive: true }));

let freePieces = 0;
/** A disk of so many free pieces. */
const allocate: AllocateBlocks = (file, offset, length) => {
  if (freePieces === 0) throw new FsError('NO_SPACE', file);
  freePieces--;
  writeFileSync(file, '', { flag: 'a' });
  truncateSync(file, offset + length);
};

function fullDisk(): never {
  throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
}

test('what meets a full disk goes on with a piece of the reserve, until none is left', () => {
  freePieces = 3;
  const reserve = new SpaceReserve(path, allocate, 3 * reservePieceBytes);
  expect(reserve.isWhole).toBe(true);
  expect(statSync(path).size).toBe(3 * reservePieceBytes);
  let tries = 0;
  const done = reserve.withRoom(() => (++tries < 3 ? fullDisk() : 'written'));
  expect([done, tries, reserve.heldBytes]).toEqual(['written', 3, reservePieceBytes]);
  expect(statSync(path).size).toBe(reservePieceBytes);
  expect(reserve.isWhole).toBe(false);
  expect(() => reserve.withRoom(fullDisk)).toThrow('ENOSPC');
  expect([reserve.heldBytes, reserve.spend()]).toEqual([0, false]);
});

test('it is taken back as far as there is room, also by the next process', () => {
  freePieces = 1;
  const reserve = new SpaceReserve(path, allocate, 2 * reservePieceBytes);
  expect([reserve.isWhole, reserve.heldBytes]).toEqual([false, reservePieceBytes]);
  freePieces = 5;
  reserve.refill();
  expect([reserve.isWhole, freePieces]).toEqual([true, 4]);
  freePieces = 0;
  expect(new SpaceReserve(path, allocate, 2 * reservePieceBytes).isWhole).toBe(true);
});

test('other errors spend nothing, and a file system without fallocate has no reserve to wait for', () => {
  freePieces = 2;
  const reserve = new SpaceReserve(path, allocate, 2 * reservePieceBytes);
  expect(() =>
    reserve.withRoom(() => {
      throw new Error('EIO');
    }),
  ).toThrow('EIO');
  expect(reserve.isWhole).toBe(true);
  rmSync(path);
  const unable: AllocateBlocks = () => {
    throw new FsError('NOT_SUPPORTED', 'fallocate');
  };
  const none = new SpaceReserve(path, unable);
  expect(none.isWhole).toBe(true);
});
