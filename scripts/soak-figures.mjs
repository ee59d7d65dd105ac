// What a long run leaves behind: the figures in what a part printed, and sums of recorded ranges of seeds.

/** Prefix of a line's figures, such as `kills: {"operations": 7}`. */
const named = /^([a-z][a-z0-9 -]*): (\{".*\})$/;
const counted = /^test result: .*? (\d+) passed; (\d+) failed;/;
const repeats = /^(?:seed \d+; )?to repeat: (.*)$/;

/** Figures by name, the numbers of cargo's tests, and the commands that repeat the run. */
export function figuresOf(text) {
  const figures = {};
  const add = (name, value) => {
    // A part may print the same name twice: a list then.
    figures[name] = name in figures ? [figures[name], value].flat() : value;
  };
  const tests = { passed: 0, failed: 0 };
  for (const line of text.split('\n').map((each) => each.trim())) {
    const [, name, json] = named.exec(line) ?? [];
    if (name !== undefined) add(name, JSON.parse(json));
    const [, passed, failed] = counted.exec(line) ?? [];
    tests.passed += Number(passed ?? 0);
    tests.failed += Number(failed ?? 0);
    const [, command] = repeats.exec(line) ?? [];
    if (command !== undefined) add('repeat', command);
  }
  return tests.passed + tests.failed > 0 ? { ...figures, tests } : figures;
}

/** The ranges of seeds in a file of `sim chain --record`. A line that an end cut off is none. */
export function recordedRanges(text) {
  return text.split('\n').flatMap((line) => {
    try {
      const range = JSON.parse(line);
      return Number.isInteger(range.first) && Number.isInteger(range.last) ? [range] : [];
    } catch {
      return [];
    }
  });
}

/** The seed behind the last recorded one, or `otherwise` if none is. */
export function nextSeed(ranges, otherwise) {
  return ranges.reduce((most, { last }) => Math.max(most, last), otherwise);
}

export function sumOfRanges(ranges) {
  const sum = (field) => ranges.reduce((total, range) => total + range[field], 0);
  return {
    seeds: ranges.reduce((total, { first, last }) => total + last - first, 0),
    events: sum('events'),
    operations: sum('operations'),
    faults: sum('faults'),
    // Older lines do not say.
    undecided: ranges.reduce((total, { undecided }) => total + (undecided ?? 0), 0),
    cpuSeconds: Math.round(sum('cpuSeconds')),
    broken: ranges.filter(({ kept }) => !kept).length,
  };
}

/** Events by the commit that was built: what an older protocol was proved by proves little of a newer one. */
export function sumsOfCommits(ranges) {
  const commits = [...new Set(ranges.map(({ commit }) => commit))];
  return Object.fromEntries(
    commits.map((commit) => {
      const { seeds, events, broken } = sumOfRanges(ranges.filter((range) => range.commit === commit));
      return [commit, { seeds, events, broken }];
    }),
  );
}
