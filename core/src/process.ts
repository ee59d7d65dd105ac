// The life of a service process, the same for all: read the configuration, start, say ready, stop in order on
// SIGTERM or SIGINT. Our own bugs (anything uncaught) are one event and the end of the process; the
// supervisor starts a new one.
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Clock, realClock } from './clock.ts';
import { type ConfigOf, type ConfigSchema, printConfig, readConfig } from './config.ts';
import { FsError } from './errors.ts';
import { createLogger, type LogFields, type Logger, type LogLevel, logLevels } from './log.ts';
import { addProcessMetrics, Metrics } from './metrics.ts';

export const exitCodes = {
  done: 0,
  failedStart: 1,
  badConfig: 2,
  stopTimeout: 3,
  deposed: 4,
  crash: 70,
} as const;

/** An orderly stop flushes what is in memory; longer than this and the supervisor's patience (20 s) ends. */
const stopTimeoutMs = 15_000;

/**
 * A start that was told to stop gets this long to end by itself, so that nothing is left half started. One that
 * waits for another service would wait for long, and has nothing yet that a kill -9 would harm.
 */
const startPatienceMs = 2_000;

export interface ServiceContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * Ends the process as orderly as it can, for a failure that it must not outlive (a lost lock, a failed
   * disk).
   */
  readonly fail: (error: FsError) => void;
}

export interface RunningService {
  /** What the ready line says: addresses and the like. */
  readonly ready: LogFields;
  stop(): Promise<void>;
}

export interface ServiceDefinition<Schema extends ConfigSchema> {
  readonly name: string;
  readonly schema: Schema;
  readonly bootMs: () => number;
  /** Checks beyond those of single keys; throws BAD_CONFIG. */
  readonly check?: (config: ConfigOf<Schema>) => void;
  start(config: ConfigOf<Schema>, context: ServiceContext): Promise<RunningService>;
}

/** The whole `main` of a service. */
export async function runService<Schema extends ConfigSchema>(
  definition: ServiceDefinition<Schema>,
  args: readonly string[] = process.argv.slice(2),
): Promise<void> {
  const { name } = definition;
  let config: ConfigOf<Schema>;
  let level: LogLevel;
  try {
    const flags = parseFlags(args);
    level = flags.level;
    config = readConfig(definition.schema, flags.config);
    definition.check?.(config);
    if (flags.print || flags.check) {
      if (flags.print) writeSync(1, printConfig(definition.schema, config));
      else writeSync(1, `${flags.config}: the configuration is right\n`);
      process.exitCode = exitCodes.done;
      return;
    }
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    refuse(name, error, exitCodes.badConfig);
  }
  const clock = realClock(definition.bootMs);
  const log = createLogger({ process: name, clock, level });
  crashOnBugs(log);
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  await live(definition, config, { clock, log, metrics });
}

async function live<Schema extends ConfigSchema>(
  definition: ServiceDefinition<Schema>,
  config: ConfigOf<Schema>,
  parts: Omit<ServiceContext, 'fail'>,
): Promise<void> {
  const { log, clock } = parts;
  let running: RunningService | undefined;
  let stopping = false;
  const stop = (reason: string, code: number): void => {
    if (stopping) return;
    stopping = true;
    log.info('process.stop', { reason });
    clock.timer(stopTimeoutMs, () => {
      log.error('process.stop.timeout', { afterMs: stopTimeoutMs });
      process.exit(exitCodes.stopTimeout);
    });
    const stopped = running === undefined ? Promise.resolve() : running.stop();
    stopped.then(
      () => {
        log.info('process.end', { code });
        process.exit(code);
      },
      (error: unknown) => {
        log.error('process.stop.failure', { error });
        process.exit(exitCodes.failedStart);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (running !== undefined) return stop(signal, exitCodes.done);
      if (pendingSignal !== undefined) return;
      pendingSignal = signal;
      clock.timer(startPatienceMs, () => {
        if (running !== undefined) return;
        log.info('process.end', { reason: `${signal} during the start`, code: exitCodes.done });
        process.exit(exitCodes.done);
      });
    });
  }
  let pendingSignal: string | undefined;
  let failure: FsError | undefined;
  const fail = (error: FsError): void => {
    log.error('process.failure', { error });
    failure = error;
    if (running !== undefined) stop('failure', codeOf(error));
  };
  try {
    running = await definition.start(config, { ...parts, fail });
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    refuse(definition.name, error, error.code === 'BAD_CONFIG' ? exitCodes.badConfig : exitCodes.failedStart);
  }
  log.info('process.ready', running.ready);
  writeSync(1, `${JSON.stringify({ event: 'process.ready', process: definition.name, ...running.ready })}\n`);
  if (failure !== undefined) stop('failure', codeOf(failure));
  if (pendingSignal !== undefined) stop(pendingSignal, exitCodes.done);
}

/** Another process is the primary now: no mistake of anybody, and a new start is right at once. */
function codeOf(failure: FsError): number {
  return failure.code === 'NOT_PRIMARY' ? exitCodes.deposed : exitCodes.failedStart;
}

function parseFlags(args: readonly string[]): {
  config: string;
  check: boolean;
  print: boolean;
  level: LogLevel;
} {
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({
      args: [...args],
      options: {
        config: { type: 'string' },
        'check-config': { type: 'boolean' },
        'print-config': { type: 'boolean' },
        'log-level': { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new FsError('BAD_CONFIG', error instanceof Error ? error.message : String(error));
  }
  if (typeof values.config !== 'string')
    throw new FsError('BAD_CONFIG', 'say which file: --config FILE.toml');
  const level = values['log-level'] ?? 'info';
  if (!logLevels.includes(level as LogLevel)) {
    throw new FsError('BAD_CONFIG', `--log-level must be one of ${logLevels.join(', ')}`);
  }
  return {
    config: values.config,
    check: values['check-config'] === true,
    print: values['print-config'] === true,
    level: level as LogLevel,
  };
}

/** One line for people, and the end. */
function refuse(name: string, error: FsError, code: number): never {
  writeSync(2, `${name}: ${error.message}\n`);
  process.exit(code);
}

function crashOnBugs(log: Logger): void {
  const crash = (error: unknown): void => {
    log.error('process.crash', { error });
    process.exit(exitCodes.crash);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
}
