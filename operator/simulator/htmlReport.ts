/** Reports as one page that needs nothing else: a table, bars of the tails by policy, and counts over time. */
import { percent } from "./percent.ts";
import type { Distribution, Report } from "./report.ts";
import type { ScaledReport } from "./simulateScaled.ts";

const width = 720;
const labelWidth = 170;
const barHeight = 12;
const shades = ["#9ecae1", "#4292c6", "#084594"] as const;
const tails = ["p50", "p90", "p99"] as const;

export function htmlReport(reports: readonly (Report | ScaledReport)[]): string {
  const [first] = reports;
  const synthetic = first?.synthetic === true ? ", synthetic" : "";
  const title = first === undefined ? "no runs" : `${first.trace}${synthetic}: ${first.requests} requests`;
  const curves = reports.flatMap((one) => ("sizes" in one ? [sizes(one)] : []));
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title><style>
body{font:14px system-ui,sans-serif;max-width:960px;margin:2em auto;color:#222}
table{border-collapse:collapse}td,th{padding:.3em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}svg text{font:12px system-ui,sans-serif}
</style></head><body>
<h1>${escaped(title)}</h1>
${table(reports)}
${bars("Time to first token, s", reports, (one) => one.ttftSeconds, 1)}
${bars("Time between tokens, ms", reports, (one) => one.tbtSeconds, 1e3)}
${bars("Response time, s", reports, (one) => one.responseSeconds, 1)}
${curves.join("\n")}
</body></html>
`;
}

function table(reports: readonly Report[]): string {
  const columns: readonly (readonly [string, (one: Report) => string])[] = [
    ["policy", (one) => escaped(one.policy)],
    ["mean TTFT, s", (one) => one.ttftSeconds.mean.toFixed(2)],
    ["mean TBT, ms", (one) => (one.tbtSeconds.mean * 1e3).toFixed(1)],
    ["mean response, s", (one) => one.responseSeconds.mean.toFixed(2)],
    ["output tokens/s", (one) => one.outputTokensPerSecond.toFixed(0)],
    ["attainment", (one) => percent(one.attainment)],
    ["GPU-hours", (one) => one.gpuHours.toFixed(2)],
    ["refused", (one) => String(one.refused + one.stuck)],
  ];
  const head = columns.map(([name]) => `<th>${name}</th>`).join("");
  const rows = reports.map((one) => `<tr>${columns.map(([, of]) => `<td>${of(one)}</td>`).join("")}</tr>`);
  return `<table><tr>${head}</tr>${rows.join("")}</table>`;
}

/** Tails span orders of magnitude, so bars are as long as the square root. */
function bars(
  title: string,
  reports: readonly Report[],
  of: (one: Report) => Distribution,
  factor: number,
): string {
  const most = Math.max(1e-9, ...reports.map((one) => of(one).p99 * factor).filter(Number.isFinite));
  const room = width - labelWidth - 80;
  const groupHeight = tails.length * barHeight + 10;
  const drawn = reports.map((one, row) => {
    const y = row * groupHeight;
    const each = tails.map((tail, index) => {
      const value = of(one)[tail] * factor;
      const length = Number.isFinite(value) ? room * Math.sqrt(Math.max(0, value) / most) : 0;
      const at = y + index * barHeight;
      const told = Number.isFinite(value) ? value.toPrecision(3) : "none";
      return (
        `<rect x="${labelWidth}" y="${at}" width="${length.toFixed(1)}" height="${barHeight - 2}" fill="${shades[index] ?? ""}"/>` +
        `<text x="${(labelWidth + length + 5).toFixed(1)}" y="${at + barHeight - 3}">${tail} ${told}</text>`
      );
    });
    return `<text x="0" y="${y + 2 * barHeight - 3}">${escaped(one.policy)}</text>${each.join("")}`;
  });
  const height = reports.length * groupHeight;
  return `<h2>${title}</h2><svg width="${width}" height="${height}" role="img">${drawn.join("")}</svg>`;
}

/** Groups and decode ranks as steps over the run. */
function sizes({ policy, sizes: changes, virtualSeconds, gpuHours }: ScaledReport): string {
  const height = 160;
  const most = Math.max(1, ...changes.flatMap(({ size }) => [size.groups, size.decodeRanks]));
  const x = (seconds: number) => ((seconds / Math.max(1, virtualSeconds)) * width).toFixed(1);
  const y = (count: number) => (height - (count / most) * (height - 20)).toFixed(1);
  const steps = (role: "groups" | "decodeRanks", colour: string) => {
    const path = changes.map(({ atSeconds, size }, index) =>
      index === 0 ? `M0 ${y(size[role])}` : `H${x(atSeconds)}V${y(size[role])}`,
    );
    return `<path d="${path.join("")}H${width}" fill="none" stroke="${colour}" stroke-width="2"/>`;
  };
  return `<h2>Counts over ${Math.round(virtualSeconds)} s, ${escaped(policy)}</h2>
<svg width="${width}" height="${height + 4}" role="img">${steps("groups", shades[1])}${steps("decodeRanks", "#d94801")}</svg>
<p>Blue: prefill groups; orange: decode ranks; the top is ${most}; ${gpuHours.toFixed(2)} GPU-hours.</p>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
