// The fio-style benchmark tool: what `catena bench` and the suite of figures run.
export { formatReport } from './format.ts';
export {
  type BenchOptions,
  defaults,
  type EngineName,
  engines,
  oneOf,
  type PatternName,
  parseSize,
  parseTime,
  patterns,
} from './options.ts';
export { type BenchReport, runBench } from './report.ts';
