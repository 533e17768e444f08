/** Kubernetes quantities as numbers of thousandths, so that 500m of a CPU and 2Gi of memory add up exactly. */

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const form = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$/;

/** Thousandths of a quantity, rounded up as Kubernetes does; undefined when it is not one. */
export function parseQuantityMilli(quantity: string | number): number | undefined {
  const match = form.exec(String(quantity).trim());
  if (match === null) return undefined;
  const [, digits = "", exponent = "", suffix = ""] = match;
  const value = Number(digits + exponent) * (suffixes[suffix] ?? 1) * 1000;
  // 0.1 * 1000 is 100.00000000000001 in binary: take the nearest integer when it is that close.
  const nearest = Math.round(value);
  return Math.abs(value - nearest) < 1e-6 * Math.max(1, Math.abs(value)) ? nearest : Math.ceil(value);
}

/** Amounts by resource name, in thousandths. */
export type Amounts = Readonly<Record<string, number>>;

/** Quantities of a resource list; what is no quantity counts as nothing. */
export function parseAmounts(list: Readonly<Record<string, string | number>> | undefined): Amounts {
  const entries = Object.entries(list ?? {});
  return Object.fromEntries(entries.map(([name, quantity]) => [name, parseQuantityMilli(quantity) ?? 0]));
}

export function addAmounts(left: Amounts, right: Amounts): Amounts {
  return combine(left, right, (a, b) => a + b);
}

export function maxAmounts(left: Amounts, right: Amounts): Amounts {
  return combine(left, right, Math.max);
}

function combine(left: Amounts, right: Amounts, merge: (a: number, b: number) => number): Amounts {
  const result: Record<string, number> = { ...left };
  for (const [name, amount] of Object.entries(right)) result[name] = merge(result[name] ?? 0, amount);
  return result;
}
