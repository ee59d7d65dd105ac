// What a plan means and what its last run did, as text for people.

import { partitionsPerStepMax } from '../exchange/limits.ts';
import type { OptimizedPlan } from '../optimize/optimize.ts';
import { schemaOf, shorten } from '../optimize/schemas.ts';
import { inputsOf, type Node } from '../plan/nodes.ts';
import type { ExecutionPlan } from '../plan/planner.ts';
import type { TaskReport } from '../schedule/run.ts';
import type { Resources } from './resources.ts';

export interface RunReport {
  readonly goal: string;
  readonly seconds: number;
  readonly tasks: readonly TaskReport[];
  /** Copied back through a FileTransfer. */
  readonly bytesOut: number;
  /** Tasks taken over from an earlier driver of this job. */
  readonly recovered: number;
}

export interface ExplainInput {
  readonly jobId: string;
  readonly platform: string;
  readonly resources: Resources;
  readonly transfer: string | undefined;
  readonly optimized: OptimizedPlan;
  readonly plan: ExecutionPlan;
  /** Copied to scratch through a FileTransfer, by the whole session so far. */
  readonly bytesIn: number;
  readonly lastRun: RunReport | undefined;
}

export function explainText(input: ExplainInput): string {
  const { resources } = input;
  const { threadsPerSlot, memoryBytesPerSlot } = resources;
  const threads = `${threadsPerSlot} thread${threadsPerSlot === 1 ? '' : 's'}`;
  const each = `${threads}, ${bytesText(memoryBytesPerSlot)} each`;
  const lines = [
    `job ${input.jobId} on platform ${input.platform}: ${resources.slots} slots (${each})`,
    ...nodeLines(input.optimized, input.optimized.root, '', new Set()),
    '',
    ...stageLines(input.plan),
  ];
  lines.push('');
  if (input.lastRun !== undefined) lines.push(...runLines(input.lastRun));
  if (input.transfer === undefined) lines.push('copied to scratch: nothing, workers read the files in place');
  else {
    const back = `${input.lastRun?.bytesOut ?? 0} bytes back`;
    lines.push(`copied through ${input.transfer}: ${input.bytesIn} bytes to scratch, ${back}`);
  }
  return `${lines.join('\n')}\n`;
}

function nodeLines(plan: OptimizedPlan, node: Node, indent: string, seen: Set<number>): string[] {
  if (seen.has(node.id)) return [`${indent}(shared) ${sentence(plan, node)[0]}`];
  seen.add(node.id);
  const [first, ...more] = sentence(plan, node);
  const lines = [`${indent}${first}`, ...more.map((line) => `${indent}    ${line}`)];
  for (const child of inputsOf(node)) lines.push(...nodeLines(plan, child, `${indent}  `, seen));
  return lines;
}

function sentence(plan: OptimizedPlan, node: Node): string[] {
  const kept = plan.kept.get(node.id) ?? [];
  switch (node.kind) {
    case 'source': {
      const source = plan.sources.get(node.id)!;
      const rows = source.files.reduce((sum, file) => sum + file.rows, 0);
      const bytes = source.files.reduce((sum, file) => sum + file.bytes, 0);
      const groups = source.files.reduce((sum, file) => sum + file.groups.length, 0);
      const size = `${source.files.length} files, ${rows} rows in ${groups} row groups, ${bytesText(bytes)}`;
      const columns = `columns read: ${kept.join(', ')} (${kept.length} of ${source.columns.length})`;
      return [`parquet ${node.patterns.join(', ')}: ${size}`, columns];
    }
    case 'filter':
      return [`filter ${shorten(node.condition)}`];
    case 'repartition': {
      const { division } = node;
      const by = division.by === 'hash' ? `hash of ${division.keys.join(', ')}` : division.by;
      const what = division.by === 'column' ? `number in ${shorten(division.expression)}` : by;
      const head = `repartition into ${node.partitions} by ${what}`;
      if (division.by === 'files' || division.by === 'rows') return [head];
      const all = schemaOf(plan.schemas, node).length;
      const steps = node.partitions > partitionsPerStepMax ? 'two steps' : 'one step';
      return [`${head}, ${steps}`, `columns carried: ${kept.join(', ')} (${kept.length} of ${all})`];
    }
    case 'sql':
      return [`sql on each partition: ${shorten(node.query)}`];
    case 'query':
      return [`query, run whole on one worker: ${shorten(node.query)}`];
  }
}

function stageLines(plan: ExecutionPlan): string[] {
  if (plan.countKnown !== undefined) return [`no tasks: the footers say ${plan.countKnown} rows`];
  const stages = new Map<string, number>();
  for (const task of plan.tasks) stages.set(task.stage, (stages.get(task.stage) ?? 0) + 1);
  return [...stages].map(([stage, count]) => {
    const whole = plan.tasks.some((task) => task.stage === stage && task.exclusive)
      ? ', with all threads of its node'
      : '';
    return `stage ${stage}: ${count} task${count === 1 ? '' : 's'}${whole}`;
  });
}

function runLines(run: RunReport): string[] {
  const lines = [`last run (${run.goal}): ${run.seconds.toFixed(3)} s`];
  if (run.recovered > 0)
    lines.push(`  ${run.recovered} tasks were finished by an earlier driver of this job`);
  for (const { task, result, worker, attempts } of run.tasks) {
    const tries = attempts > 1 ? `, attempt ${attempts}` : '';
    const wrote = result.file === '' ? '' : `, ${bytesText(result.bytes)} written`;
    const did = `${result.rows} rows, ${result.seconds.toFixed(3)} s`;
    lines.push(`  ${task.id} ${task.stage} on ${worker}${tries}: ${did}${wrote}`);
  }
  return lines;
}

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit]}`;
}
