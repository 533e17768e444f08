/** Values of samples that must be there and can be true; else an Error with the metric. */
import type { MetricSample, MetricSamples } from "./metricText.ts";

export type Labels = Readonly<Record<string, string>>;

/** Of the first sample with these labels, whatever others it has. */
export function valueOf(samples: MetricSamples, name: string, labels: Labels): number {
  const found = samples.get(name)?.find((one) => matches(one.labels, labels));
  if (found === undefined) throw new Error(`${nameOf(name, labels)} is missing`);
  return checked(found.value, name, labels);
}

/** Of a metric that a process has once. */
export function onlySample(samples: MetricSamples, name: string): MetricSample {
  const [found, ...more] = samples.get(name) ?? [];
  if (found === undefined) throw new Error(`${name} is missing`);
  if (more.length > 0) throw new Error(`${name} is there ${more.length + 1} times`);
  return found;
}

/** Every one of these is a count or a sum of counts. */
export function checked(value: number, name: string, labels: Labels = {}): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new Error(`${nameOf(name, labels)} is ${value}, which can't be true`);
}

export function matches(own: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => own[key] === value);
}

function nameOf(name: string, labels: Labels): string {
  const inner = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return inner.length === 0 ? name : `${name}{${inner.join(",")}}`;
}
