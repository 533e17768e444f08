/** y = intercept + slope x by least squares on the relative error, held out rows judged apart. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Line {
  readonly intercept: number;
  readonly slope: number;
  readonly rows: number;
  /** Relative error on the rows that were not fitted. */
  readonly heldOutP50: number;
  readonly heldOutP90: number;
}

/** Fits the even rows and judges the odd ones; never a negative intercept. */
export function fitLine(points: readonly Point[]): Line {
  const fitted = points.filter((_, index) => index % 2 === 0);
  const heldOut = points.filter((_, index) => index % 2 === 1);
  if (fitted.length < 2 || heldOut.length === 0)
    throw new Error(`${points.length} rows are too few for a line`);
  const sum = (of: (point: Point) => number) => fitted.reduce((total, point) => total + of(point), 0);
  const weight = ({ y }: Point) => 1 / y ** 2;
  const s0 = sum(weight);
  const s1 = sum((point) => weight(point) * point.x);
  const s2 = sum((point) => weight(point) * point.x ** 2);
  const t0 = sum((point) => weight(point) * point.y);
  const t1 = sum((point) => weight(point) * point.x * point.y);
  const determinant = s0 * s2 - s1 ** 2;
  const free = { intercept: (s2 * t0 - s1 * t1) / determinant, slope: (s0 * t1 - s1 * t0) / determinant };
  const line = free.intercept >= 0 ? free : { intercept: 0, slope: t1 / s2 };
  const errors = heldOut
    .map(({ x, y }) => Math.abs(line.intercept + line.slope * x - y) / y)
    .sort((a, b) => a - b);
  const at = (share: number) => errors[Math.floor(share * (errors.length - 1))] ?? Number.NaN;
  return { ...line, rows: points.length, heldOutP50: at(0.5), heldOutP90: at(0.9) };
}
