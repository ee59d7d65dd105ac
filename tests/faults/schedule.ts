// Which fault comes when: a function of the seed, so that a failed run is repeated with one command.

/** One step of splitmix32. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Less than `bound`. */
  below(bound: number): number {
    this.#state = (this.#state + 0x9e37_79b9) >>> 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 16), 0x21f0_aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a_2d97);
    return ((word ^ (word >>> 15)) >>> 0) % bound;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to choose from');
    return item;
  }
}

export interface Kill {
  /** After the start of the run. */
  readonly atMs: number;
  readonly service: string;
}

/** A kill -9 of a random service every 2 to 5 s. */
export function killSchedule(seed: number, durationMs: number, services: readonly string[]): Kill[] {
  const chance = new Chance(seed);
  const kills: Kill[] = [];
  for (let atMs = 2_000; atMs < durationMs; atMs += 2_000 + chance.below(3_001)) {
    kills.push({ atMs, service: chance.pick(services) });
  }
  return kills;
}

/** A number from the environment (`npm run soak` sets it), or the default. */
export function fromEnvironment(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`${name}=${text} is no number`);
  return value;
}

/** The seed of this run: given, or drawn and printed with the command that repeats it. */
export function seedOf(file: string, also = ''): number {
  const seed = fromEnvironment('CATENA_SEED', Math.floor(Math.random() * 2 ** 31));
  const vitest = `node_modules/.bin/vitest run --config tests/vitest.config.ts ${file}`;
  console.info(`seed ${seed}; to repeat: ${also === '' ? '' : `${also} `}CATENA_SEED=${seed} ${vitest}`);
  return seed;
}
