// One JSON line per event on stderr. Event names are nouns from the code (`node.registration`,
// `chain.change`), the same as those of metrics; the fixed keys for context are node, target, chain, inode,
// request.
import { writeSync } from 'node:fs';
import type { Clock } from './clock.ts';
import { FsError } from './errors.ts';

export const logLevels = ['debug', 'info', 'warning', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warning(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** The same log with these fields in every line. */
  with(fields: LogFields): Logger;
}

export interface LoggerOptions {
  process: string;
  clock: Pick<Clock, 'wallNs'>;
  level?: LogLevel;
  write?: (line: string) => void;
}

export function createLogger(options: LoggerOptions): Logger {
  const write = options.write ?? writeStderr;
  const least = logLevels.indexOf(options.level ?? 'info');
  const make = (context: LogFields): Logger => {
    const at =
      (level: LogLevel) =>
      (event: string, fields: LogFields = {}): void => {
        if (logLevels.indexOf(level) < least) return;
        const time = new Date(Number(options.clock.wallNs() / 1_000_000n)).toISOString();
        write(`${JSON.stringify({ time, level, event, ...context, ...fields }, plain)}\n`);
      };
    return {
      debug: at('debug'),
      info: at('info'),
      warning: at('warning'),
      error: at('error'),
      with: (fields) => make({ ...context, ...fields }),
    };
  };
  return make({ process: options.process });
}

export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warning: () => {},
  error: () => {},
  with: () => silentLogger,
};

/**
 * What JSON cannot say by itself: 64-bit numbers as text, bytes as hexadecimal digits, errors by code and
 * sentence.
 */
export function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof FsError) return { code: value.code, message: value.message, ...value.context };
  if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (
    typeof value === 'object' &&
    value !== null &&
    'type' in value &&
    value.type === 'Buffer' &&
    'data' in value
  ) {
    return Buffer.from(value.data as number[]).toString('hex'); // JSON.stringify has called Buffer's toJSON already
  }
  return value;
}

function writeStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // A full or closed stderr must never stop a service.
  }
}
