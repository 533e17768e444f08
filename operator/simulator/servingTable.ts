/**
 * Serving policies beside chunked prefill: ratios of the paper's five figures, above 1 where a policy is better, at each
 * load. The paper gives each as "up to" and does not say at which load: beside its figure stands the best of the sweep,
 * with the load at which it holds.
 */
import type { Report } from "./report.ts";
import type { ServingPolicy } from "./serving/system.ts";

/** What a policy is, beside its name: two of them do what no deployment does. */
export const policyLabels: Readonly<Record<ServingPolicy, string>> = {
  csps: "csps (elastic roles + sparse)",
  "csps-dense": "csps-dense (elastic roles)",
  "fixed-split": "fixed-split (nearest to deployed)",
  "static-sp": "static-sp",
  disaggregated: "disaggregated",
  chunked: "chunked",
  elastic: "elastic (LoongServe)",
};

export const labelNote =
  "csps and csps-dense split the ranks anew each second between prefill and decode, and csps has sparse attention on. A " +
  "deployment does neither by itself: its ranks keep their roles and attention is exact unless a spec says otherwise. " +
  "Nearest to it is fixed-split.";

/** Those whose ratios are told. */
export const compared = ["csps", "csps-dense", "fixed-split"] as const satisfies readonly ServingPolicy[];
export type Compared = (typeof compared)[number];

interface Ratio {
  readonly name: string;
  readonly paper: number;
  readonly of: (policy: Report, chunked: Report) => number;
}

const times = (pick: (report: Report) => number) => (policy: Report, chunked: Report) =>
  pick(chunked) / pick(policy);

export const ratios: readonly Ratio[] = [
  { name: "mean TTFT", paper: 7.5, of: times(({ ttftSeconds }) => ttftSeconds.mean) },
  { name: "mean TBT", paper: 1.92, of: times(({ tbtSeconds }) => tbtSeconds.mean) },
  { name: "mean response", paper: 9.8, of: times(({ responseSeconds }) => responseSeconds.mean) },
  { name: "prefill tokens/s", paper: 8.2, of: (a, b) => a.inputTokensPerSecond / b.inputTokensPerSecond },
  { name: "decode tokens/s", paper: 5.2, of: (a, b) => a.outputTokensPerSecond / b.outputTokensPerSecond },
];

/** A policy at a load: its ratios in the order of `ratios`, or why it can't be compared. */
export interface Beside {
  readonly load: number;
  readonly policy: Compared;
  readonly values: readonly number[] | undefined;
  readonly why: string;
}

/** Who refuses the longest prompts has an easier trace: times of two that refused differently can't be compared. */
export function besideChunked(load: number, reports: ReadonlyMap<ServingPolicy, Report>): readonly Beside[] {
  const chunked = reports.get("chunked");
  return compared.flatMap((policy): readonly Beside[] => {
    const report = reports.get(policy);
    if (report === undefined || chunked === undefined) return [];
    if (report.refused === chunked.refused)
      return [{ load, policy, values: ratios.map(({ of }) => of(report, chunked)), why: "" }];
    const why = `${policy} refuses ${report.refused} of ${report.requests} and chunked ${chunked.refused}`;
    return [{ load, policy, values: undefined, why }];
  });
}

/** Table of each load and policy that can be compared. */
export function ratioRows(
  rows: readonly Beside[],
): Readonly<Record<string, Readonly<Record<string, number>>>> {
  return Object.fromEntries(
    rows.flatMap(({ load, policy, values }) =>
      values === undefined
        ? []
        : [
            [
              `${load}x ${policyLabels[policy]}`,
              Object.fromEntries(ratios.map(({ name }, index) => [name, rounded(values[index])])),
            ],
          ],
    ),
  );
}

/** Of each of the paper's five: its figure, and for each policy the best of the sweep with its load. */
export function bestRows(
  rows: readonly Beside[],
): Readonly<Record<string, Readonly<Record<string, number | string>>>> {
  return Object.fromEntries(
    ratios.map(({ name, paper }, index) => [
      name,
      {
        "paper, up to": paper,
        ...Object.fromEntries(compared.map((policy) => [policyLabels[policy], bestOf(rows, policy, index)])),
      },
    ]),
  );
}

function bestOf(rows: readonly Beside[], policy: Compared, index: number): string {
  const found = rows
    .filter((row) => row.policy === policy && row.values !== undefined)
    .toSorted((a, b) => (b.values?.[index] ?? 0) - (a.values?.[index] ?? 0))[0];
  return found === undefined
    ? "not comparable"
    : `${rounded(found.values?.[index]).toFixed(2)} at ${found.load}x`;
}

/** Why rows are missing; undefined where none is. */
export function missing(rows: readonly Beside[]): string | undefined {
  const left = rows.filter(({ values }) => values === undefined);
  if (left.length === 0) return undefined;
  const how = left.length === rows.length ? "No row is comparable" : `${left.length} rows are not comparable`;
  const whys = [...new Set(left.map(({ why }) => why))];
  return (
    `${how}: ${whys.join("; ")}. ` +
    "Who refuses the longest prompts, as one whose ranks each hold whole prompts, has an easier trace and better times."
  );
}

function rounded(value = Number.NaN): number {
  return Number(value.toFixed(2));
}
