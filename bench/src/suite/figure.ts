// One measured figure: what, how much, what it was to reach, and what it was compared with in the same run.

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project set out to reach; absent for figures that are only reported. */
  readonly goal?: { readonly atMost: number } | { readonly atLeast: number };
  /** The baseline of the same run, in words and numbers. */
  readonly baseline?: string;
  /** More numbers of the same measurement, for programs; a unit is in each name. */
  readonly details?: Readonly<Record<string, number>>;
}

export function reached(figure: Figure): boolean | undefined {
  if (figure.goal === undefined) return undefined;
  return 'atMost' in figure.goal ? figure.value <= figure.goal.atMost : figure.value >= figure.goal.atLeast;
}

function goalText(figure: Figure): string {
  if (figure.goal === undefined) return 'reported';
  return 'atMost' in figure.goal ? `≤ ${number(figure.goal.atMost)}` : `≥ ${number(figure.goal.atLeast)}`;
}

export function number(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

/** The table of the README. */
export function formatTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const mark = { true: 'yes', false: 'no', undefined: '' }[`${reached(figure)}`];
    const value = `${number(figure.value)} ${figure.unit}`.trim();
    return `| ${figure.name} | ${value} | ${goalText(figure)} | ${mark} | ${figure.baseline ?? ''} |`;
  });
  return [
    '| measure | measured | to reach | reached | baseline, same run |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
