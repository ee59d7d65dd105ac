import { expect, test } from 'vitest';
import { ManualClock } from './clock.ts';
import { FsError } from './errors.ts';
import { createLogger } from './log.ts';
import { addProcessMetrics, Metrics } from './metrics.ts';

test('the text that Prometheus reads', () => {
  const metrics = new Metrics();
  metrics.counter('a_total', 'Counts a.', { node: 1 }).add();
  metrics.counter('a_total', 'Counts a.', { node: 2 }).add(5);
  metrics.gauge('b', 'Shows b.').set(2.5);
  metrics.observed('c', 'Reads c.', 'gauge', () => 7, { path: 'x"y\\z\n' });
  const latency = metrics.histogram('d_ms', 'Times d.', [1, 10]);
  for (const value of [0.5, 1, 2, 10, 11]) latency.observe(value);
  expect(metrics.render()).toBe(`# HELP a_total Counts a.
# TYPE a_total counter
a_total{node="1"} 1
a_total{node="2"} 5
# HELP b Shows b.
# TYPE b gauge
b 2.5
# HELP c Reads c.
# TYPE c gauge
c{path="x\\"y\\\\z\\n"} 7
# HELP d_ms Times d.
# TYPE d_ms histogram
d_ms_bucket{le="1"} 2
d_ms_bucket{le="10"} 4
d_ms_bucket{le="+Inf"} 5
d_ms_sum 24.5
d_ms_count 5
`);
  addProcessMetrics(metrics);
  expect(metrics.render()).toMatch(/\nprocess_resident_memory_bytes \d{6,}\n/);
});

test('a log line is one line of JSON with the fixed keys, the context, and what JSON cannot say as text', () => {
  const lines: string[] = [];
  const clock = new ManualClock({ wallStartNs: 1_000_000_000n });
  const log = createLogger({ process: 'p', clock, level: 'info', write: (line) => lines.push(line) });
  log.debug('too.fine');
  const error = new FsError('NO_SPACE', 'here\nand there', { context: { target: 7n } });
  log.with({ node: 3 }).warning('disk.failure', { inode: 2n ** 63n, id: Buffer.from('ab', 'hex'), error });
  expect(lines).toHaveLength(1);
  expect(lines[0]?.endsWith('\n')).toBe(true);
  expect(lines[0]?.trimEnd().includes('\n')).toBe(false);
  expect(JSON.parse(lines[0]!)).toEqual({
    time: '1970-01-01T00:00:01.000Z',
    level: 'warning',
    event: 'disk.failure',
    process: 'p',
    node: 3,
    inode: '9223372036854775808',
    id: 'ab',
    error: {
      code: 'NO_SPACE',
      message: 'no space left on the storage servers: here\nand there',
      target: '7',
    },
  });
});
