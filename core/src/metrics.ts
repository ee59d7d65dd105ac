// Counters, gauges and histograms, rendered as Prometheus text. Names are those of the log's events with bars
// for dots. The number of label values is the caller's to bound: ids of nodes and targets, never of inodes or
// clients.

export type Labels = Readonly<Record<string, string | number>>;

export interface Counter {
  add(amount?: number): void;
}
export interface Gauge {
  set(value: number): void;
}
export interface Histogram {
  observe(value: number): void;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly series: Map<string, () => string>;
}

export class Metrics {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string, labels: Labels = {}): Counter {
    let total = 0;
    this.#add(name, help, 'counter', labels, () => `${name}${rendered(labels)} ${total}`);
    return {
      add: (amount = 1) => {
        total += amount;
      },
    };
  }

  /** A counter or gauge whose value is kept elsewhere and read when it is asked for. */
  observed(
    name: string,
    help: string,
    type: 'counter' | 'gauge',
    read: () => number,
    labels: Labels = {},
  ): void {
    this.#add(name, help, type, labels, () => `${name}${rendered(labels)} ${read()}`);
  }

  gauge(name: string, help: string, labels: Labels = {}): Gauge {
    let current = 0;
    this.observed(name, help, 'gauge', () => current, labels);
    return {
      set: (value) => {
        current = value;
      },
    };
  }

  /** `bounds` ascend; a value counts in the first bucket whose bound it does not exceed. */
  histogram(name: string, help: string, bounds: readonly number[], labels: Labels = {}): Histogram {
    const counts = new Array<number>(bounds.length + 1).fill(0);
    let sum = 0;
    this.#add(name, help, 'histogram', labels, () => {
      let running = 0;
      const lines = counts.map((count, index) => {
        running += count;
        const le = index < bounds.length ? String(bounds[index]) : '+Inf';
        return `${name}_bucket${rendered({ ...labels, le })} ${running}`;
      });
      return [
        ...lines,
        `${name}_sum${rendered(labels)} ${sum}`,
        `${name}_count${rendered(labels)} ${running}`,
      ].join('\n');
    });
    return {
      observe: (value) => {
        sum += value;
        let index = 0;
        while (index < bounds.length && value > bounds[index]!) index++;
        counts[index]!++;
      },
    };
  }

  /** The text format of Prometheus, version 0.0.4. */
  render(): string {
    const families = [...this.#families.values()].map((family) =>
      [
        `# HELP ${family.name} ${family.help}`,
        `# TYPE ${family.name} ${family.type}`,
        ...[...family.series.values()].map((series) => series()),
      ].join('\n'),
    );
    return families.length === 0 ? '' : `${families.join('\n')}\n`;
  }

  #add(name: string, help: string, type: Family['type'], labels: Labels, series: () => string): void {
    const family = this.#families.get(name) ?? { name, help, type, series: new Map() };
    this.#families.set(name, family);
    family.series.set(rendered(labels), series);
  }
}

function rendered(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(String(value))}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/** What every Node process shows. */
export function addProcessMetrics(metrics: Metrics): void {
  metrics.observed('process_resident_memory_bytes', 'Resident memory.', 'gauge', () =>
    process.memoryUsage.rss(),
  );
  metrics.observed('process_cpu_seconds_total', 'User and system time.', 'counter', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.observed('process_uptime_seconds', 'Since the start of the process.', 'gauge', () =>
    process.uptime(),
  );
}
