// DuckDB's errors become operating errors here, and only here: by the class that begins the message, never by
// its words, but for the few that tell a bad file from a bad disk.
import { type ErrorCode, FsError } from '@catena/core';

const codeByClass: readonly (readonly [RegExp, ErrorCode])[] = [
  [/^INTERRUPT Error/, 'CANCELLED'],
  [/^Out of Memory Error/, 'OUT_OF_MEMORY'],
  [/^(Parser|Syntax|Binder|Catalog|Not implemented|Mismatch Type|Dependency|Permission) Error/i, 'BAD_QUERY'],
  [/^IO Error: No files found that match/, 'BAD_INPUT'],
  [
    /^Invalid Input Error: (No magic bytes|File '.*' (is )?too small|Failed to read Parquet|Need at least)/i,
    'BAD_INPUT',
  ],
  [
    /^(Invalid Input|IO|TProtocolException|Serialization) Error:? .*(parquet|csv|json|sniffing)/is,
    'BAD_INPUT',
  ],
  [/(No space left on device|Could not write all bytes|disk full)/i, 'NO_SPACE'],
  [/^IO Error: Cannot open file .*No such file/i, 'NOT_FOUND'],
  [/^(IO|HTTP|Connection) Error/, 'IO'],
  [/^(Conversion|Invalid Input|Out of Range|Constraint|Invalid type|Parameter Not)/i, 'BAD_QUERY'],
  [/^(FATAL|INTERNAL) Error/, 'INTERNAL'],
];

/**
 * `doing` says what and where, for example `query of partition 3`. Errors that are not DuckDB's are returned
 * as they are.
 */
export function fromEngineError(error: unknown, doing: string): FsError {
  if (error instanceof FsError) return error;
  const text = (error instanceof Error ? error.message : String(error)).replace(
    /^Failed to extract statements: /,
    '',
  );
  const code = codeByClass.find(([pattern]) => pattern.test(text))?.[1];
  if (code === undefined) {
    if (!/^[A-Z][\w ]* Error/.test(text)) throw error; // none of DuckDB's: our own bug
    return new FsError('INTERNAL', `${doing}: ${oneLine(text)}`, { cause: error });
  }
  return new FsError(code, `${doing}: ${oneLine(text)}`, { cause: error });
}

/** The sentence and its hint, without the excerpt of the query that DuckDB draws below. */
function oneLine(text: string): string {
  const drawing = text.indexOf('\n\nLINE ');
  const sentence = drawing < 0 ? text : text.slice(0, drawing);
  return sentence.trim().replace(/\s*\n\s*/g, '; ');
}
