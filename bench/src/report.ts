// What one run found, as JSON and as the native generator hands it over.
import { type BenchReport as NativeReport, runBench as runNative } from '@catena/native';
import type { BenchOptions } from './options.ts';

export type BenchReport = NativeReport;

/** Runs one job to its end. Errors of single operations are in the report; a job that cannot start rejects. */
export function runBench(options: BenchOptions): Promise<BenchReport> {
  return runNative(options);
}
