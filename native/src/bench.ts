// The load generator of the native data plane: what `catena bench` measures with.
import { binding } from './binding.ts';
import { settled } from './failure.ts';

export interface BenchSettings {
  readonly engine: 'posix' | 'client' | 'noop';
  readonly directory: string;
  readonly managers: readonly string[];
  readonly rw: 'read' | 'write' | 'randread' | 'randwrite';
  readonly blockBytes: number;
  readonly depth: number;
  readonly jobs: number;
  readonly sizeBytes: number;
  readonly runtimeMs: number;
  readonly fsyncEvery: number;
  readonly fsyncAtEnd: boolean;
  readonly verify: boolean;
  readonly seed: number;
  /** posix: past the page cache (O_DIRECT). */
  readonly direct: boolean;
}

export interface Latencies {
  readonly min: number;
  readonly mean: number;
  readonly max: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly p9999: number;
}

export interface BenchReport {
  readonly operations: number;
  readonly bytes: number;
  readonly elapsedMs: number;
  readonly errors: number;
  /** In words; empty without errors. */
  readonly firstError: string;
  readonly verifiedBytes: number;
  /** User and system time of this process alone. */
  readonly cpuMs: number;
  readonly bytesPerSecond: number;
  readonly operationsPerSecond: number;
  readonly latencyUs: Latencies;
}

export interface RawBenchFindings extends Omit<BenchReport, 'latencyUs'> {
  readonly latenciesUs: readonly number[];
}

/** One job. Errors of single operations are in the report; a job that cannot start rejects. */
export async function runBench(settings: BenchSettings): Promise<BenchReport> {
  return reportOf(() => binding().runBench({ ...settings, managers: [...settings.managers] }));
}

/** Creates and closes files in a new folder below `directory`, one after another, for that long; removes them afterwards. */
export async function runCreates(options: { directory: string; runtimeMs: number }): Promise<BenchReport> {
  return reportOf(() => binding().runCreates(options.directory, options.runtimeMs));
}

async function reportOf(measure: () => Promise<RawBenchFindings>): Promise<BenchReport> {
  const { latenciesUs, ...rest } = await settled(measure);
  const [min = 0, mean = 0, max = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, p9999 = 0] = latenciesUs;
  return { ...rest, latencyUs: { min, mean, max, p50, p90, p95, p99, p999, p9999 } };
}
