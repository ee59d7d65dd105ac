// How a report reads: a few lines for people. Machines get JSON.
import type { BenchOptions } from './options.ts';
import type { BenchReport } from './report.ts';

export function formatBytes(bytes: number): string {
  const steps: [number, string][] = [
    [2 ** 30, 'GiB'],
    [2 ** 20, 'MiB'],
    [2 ** 10, 'KiB'],
  ];
  for (const [size, unit] of steps) if (bytes >= size) return `${round(bytes / size)} ${unit}`;
  return `${bytes} B`;
}

export function formatUs(us: number): string {
  if (us >= 1e6) return `${round(us / 1e6)} s`;
  if (us >= 1e3) return `${round(us / 1e3)} ms`;
  return `${round(us)} µs`;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

export function formatReport(options: BenchOptions, report: BenchReport): string {
  const { latencyUs } = report;
  const lines = [
    `${options.rw} ${formatBytes(options.blockBytes)}, depth ${options.depth} × ${options.jobs}, engine ${options.engine}: ` +
      `${formatBytes(report.bytes)} in ${(report.elapsedMs / 1000).toFixed(2)} s`,
    `  ${formatBytes(report.bytesPerSecond)}/s, ${report.operationsPerSecond.toFixed(0)} operations/s, ` +
      `CPU of this process ${(report.cpuMs / 1000).toFixed(2)} s`,
    `  latency: mean ${formatUs(latencyUs.mean)}, p50 ${formatUs(latencyUs.p50)}, p95 ${formatUs(latencyUs.p95)}, ` +
      `p99 ${formatUs(latencyUs.p99)}, p99.9 ${formatUs(latencyUs.p999)}, max ${formatUs(latencyUs.max)}`,
  ];
  if (options.verify) lines.push(`  verified ${formatBytes(report.verifiedBytes)}`);
  if (report.errors > 0) lines.push(`  ${report.errors} errors; the first: ${report.firstError}`);
  return lines.join('\n');
}
