/** Prometheus text exposition format, as much of it as a scrape needs: samples with labels; comments are skipped. */

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type MetricSamples = ReadonlyMap<string, readonly MetricSample[]>;

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+([^ \t]+)(?:[ \t]+-?\d+)?[ \t]*$/;
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gy;
const escapes: Readonly<Record<string, string>> = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };

/** By name of the series. Throws an Error that names the first line that is none. */
export function parseMetricText(text: string): MetricSamples {
  const found = new Map<string, MetricSample[]>();
  for (const [index, raw] of text.split("\n").entries()) {
    const trimmed = raw.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const [, name, labels = "", number = ""] = line.exec(trimmed) ?? [];
    const value = numberOf(number);
    const parsed = labelsOf(labels);
    if (name === undefined || value === undefined || parsed === undefined)
      throw new Error(`line ${index + 1} is no sample: ${trimmed.slice(0, 80)}`);
    const sample = { labels: parsed, value };
    const known = found.get(name);
    if (known === undefined) found.set(name, [sample]);
    else known.push(sample);
  }
  return found;
}

function labelsOf(text: string): Record<string, string> | undefined {
  const labels: Record<string, string> = {};
  label.lastIndex = 0;
  let end = 0;
  for (const [whole, name = "", value = ""] of text.matchAll(label)) {
    labels[name] = value.replace(/\\[\\"n]/g, (escaped) => escapes[escaped] ?? escaped);
    end += whole.length;
  }
  return end === text.length ? labels : undefined;
}

function numberOf(text: string): number | undefined {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  if (text === "NaN") return NaN;
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? undefined : value;
}
