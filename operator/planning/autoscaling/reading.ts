/** What one gateway pod tells of demand at one time, and how it grew between two such times. */

/** Values at or below each bound, cumulative, ascending; the last bound is Infinity. */
export type Buckets = readonly { readonly upTo: number; readonly count: number }[];

export interface ClassReading {
  /** Prompts, their tokens and the squares of these, since the process began. */
  readonly arrived: number;
  readonly tokens: number;
  readonly squared: number;
  readonly lengths: Buckets;
  /** Now. */
  readonly waiting: number;
  readonly prefilling: number;
  readonly decoding: number;
}

export interface GatewayReading {
  readonly podUid: string;
  readonly pod: string;
  /** On a clock that no step moves. */
  readonly atMs: number;
  readonly classes: Readonly<Record<string, ClassReading>>;
  readonly output: { readonly count: number; readonly tokens: number };
  readonly tokenGaps: Buckets;
  readonly waitingForRanks: number;
}

export interface ClassGrowth {
  readonly arrived: number;
  readonly tokens: number;
  readonly squared: number;
  readonly lengths: Buckets;
}

export interface Growth {
  readonly seconds: number;
  readonly classes: Readonly<Record<string, ClassGrowth>>;
  readonly output: { readonly count: number; readonly tokens: number };
  readonly tokenGaps: Buckets;
}

const none: ClassGrowth = { arrived: 0, tokens: 0, squared: 0, lengths: [] };

/** A counter that fell began again at zero: what it shows now is what it grew by. */
export function grownBy(before: number, after: number): number {
  return after >= before ? after - before : after;
}

/** Growth over readings of one pod, oldest first; undefined for fewer than two. */
export function growthOf(readings: readonly GatewayReading[]): Growth | undefined {
  const [first] = readings;
  const last = readings.at(-1);
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return undefined;
  let growth: Growth | undefined;
  for (let index = 1; index < readings.length; index++) {
    const [before, after] = [readings[index - 1], readings[index]];
    if (before === undefined || after === undefined) continue;
    const step = stepOf(before, after);
    growth =
      growth === undefined ? step : { ...sumGrowth([growth, step]), seconds: growth.seconds + step.seconds };
  }
  return growth;
}

function stepOf(before: GatewayReading, after: GatewayReading): Growth {
  const restarted = Object.entries(after.classes).some(
    ([name, one]) => one.arrived < (before.classes[name]?.arrived ?? 0),
  );
  const from = restarted ? undefined : before;
  return {
    seconds: (after.atMs - before.atMs) / 1000,
    classes: Object.fromEntries(
      Object.entries(after.classes).map(([name, one]) => {
        const old = from?.classes[name] ?? none;
        const growth: ClassGrowth = {
          arrived: grownBy(old.arrived, one.arrived),
          tokens: grownBy(old.tokens, one.tokens),
          squared: grownBy(old.squared, one.squared),
          lengths: grownBuckets(old.lengths, one.lengths),
        };
        return [name, growth];
      }),
    ),
    output: {
      count: grownBy(from?.output.count ?? 0, after.output.count),
      tokens: grownBy(from?.output.tokens ?? 0, after.output.tokens),
    },
    tokenGaps: grownBuckets(from?.tokenGaps ?? [], after.tokenGaps),
  };
}

function grownBuckets(before: Buckets, after: Buckets): Buckets {
  const old = new Map(before.map(({ upTo, count }) => [upTo, count]));
  return after.map(({ upTo, count }) => ({ upTo, count: grownBy(old.get(upTo) ?? 0, count) }));
}

/** Of several pods over the same time; the longest time counts. */
export function sumGrowth(all: readonly Growth[]): Growth {
  const names = [...new Set(all.flatMap(({ classes }) => Object.keys(classes)))];
  const sum = (of: (one: Growth) => number): number => all.reduce((total, one) => total + of(one), 0);
  return {
    seconds: Math.max(0, ...all.map(({ seconds }) => seconds)),
    classes: Object.fromEntries(
      names.map((name) => {
        const growth: ClassGrowth = {
          arrived: sum(({ classes }) => classes[name]?.arrived ?? 0),
          tokens: sum(({ classes }) => classes[name]?.tokens ?? 0),
          squared: sum(({ classes }) => classes[name]?.squared ?? 0),
          lengths: sumBuckets(all.map(({ classes }) => classes[name]?.lengths ?? [])),
        };
        return [name, growth];
      }),
    ),
    output: { count: sum(({ output }) => output.count), tokens: sum(({ output }) => output.tokens) },
    tokenGaps: sumBuckets(all.map(({ tokenGaps }) => tokenGaps)),
  };
}

export function sumBuckets(all: readonly Buckets[]): Buckets {
  const counts = new Map<number, number>();
  for (const { upTo, count } of all.flat()) counts.set(upTo, (counts.get(upTo) ?? 0) + count);
  return [...counts].map(([upTo, count]) => ({ upTo, count })).sort((a, b) => a.upTo - b.upTo);
}

/** Value that `share` of the observations do not exceed, linear within a bucket; 0 when there are none. */
export function quantileOf(buckets: Buckets, share: number): number {
  const rank = share * (buckets.at(-1)?.count ?? 0);
  if (!(rank > 0)) return 0;
  let [below, under] = [0, 0];
  for (const { upTo, count } of buckets) {
    if (count >= rank) {
      if (upTo === Infinity) return below;
      return below + ((upTo - below) * (rank - under)) / (count - under);
    }
    [below, under] = [upTo, count];
  }
  return below;
}
