// Blocks of files before they are written (fallocate), so that a full disk cannot take them away (P8).
import { binding } from './binding.ts';
import { answered } from './failure.ts';

/**
 * Allocates the bytes of a file from `offset` on, and makes it if it is missing; with `keepLength` it does not become
 * longer. Errors: NO_SPACE; NOT_SUPPORTED where the file system cannot; IO.
 */
export function allocateBlocks(path: string, offset: number, length: number, keepLength: boolean): void {
  answered(() => binding().allocateBlocks(path, offset, length, keepLength));
}
