// Options that several commands share, with the same name and meaning everywhere.
import { InvalidArgumentError } from 'commander';

/** Where a cluster of this machine keeps everything, unless --dir says otherwise. */
export const defaultDirectory = '.catena';

export const directoryOption: [string, string, string] = [
  '--dir <dir>',
  "the cluster's folder",
  defaultDirectory,
];

/** A whole number within bounds, or one clear line. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}
