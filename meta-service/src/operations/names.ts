// What a name may be.
import { nameBytesMax } from '@catena/core';
import { refusal } from '../state/refusal.ts';

const slash = 0x2f;
const dot = 0x2e;

export function isDot(name: Uint8Array): boolean {
  return name.length === 1 && name[0] === dot;
}
export function isDotDot(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === dot && name[1] === dot;
}

/**
 * Refuses what no directory can hold. `.` and `..` exist in every directory; what that means, the operation
 * decides.
 */
export function checkName(name: Uint8Array): void {
  if (name.length > nameBytesMax) throw refusal('NAME_TOO_LONG', `${name.length} bytes`);
  if (name.length === 0) throw refusal('INVALID_ARGUMENT', 'an empty name');
  for (let at = 0; at < name.length; at++) {
    if (name[at] === slash || name[at] === 0)
      throw refusal('INVALID_ARGUMENT', 'a name with / or a zero byte');
  }
}

/** For operations that make a name. */
export function checkNewName(name: Uint8Array): void {
  checkName(name);
  if (isDot(name) || isDotDot(name)) throw refusal('EXISTS', 'every directory has . and ..');
}
