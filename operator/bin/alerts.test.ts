/** An alert on a metric that nobody exports never fires: each one named in the chart must be declared. */
import { existsSync, readFileSync } from "node:fs";
import { load } from "js-yaml";
import { expect, it } from "vitest";
import { createMetrics } from "../observability/metrics.ts";

interface Rules {
  groups: {
    rules: {
      alert: string;
      expr: string;
      annotations: { summary: string; description: string; runbook_url: string };
    }[];
  }[];
}

const file = new URL("../../charts/csps/alerts.yaml", import.meta.url);
const alerts = (load(readFileSync(file, "utf8")) as Rules).groups.flatMap(({ rules }) => rules);
const exported = createMetrics("test")
  .registry.getMetricsAsArray()
  .map(({ name }) => name);

it.each(alerts)("$alert looks at metrics that the operator exports", ({ expr }) => {
  const words = expr.replaceAll(/\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)/g, "").match(/[a-z]\w+\b(?!\s*\()/g) ?? [];
  const unknown = words.filter((word) => !exported.includes(word));
  expect(words.length).toBeGreaterThan(0);
  expect(unknown).toEqual([]);
});

it.each(alerts)("$alert says in a sentence what it means", ({ annotations }) => {
  expect(annotations.summary).not.toBe("");
  expect(annotations.description).toMatch(/\.$/);
});

it.each(alerts)("$alert points to a runbook that exists", ({ alert, annotations }) => {
  expect(annotations.runbook_url).toBe(`docs/runbooks/${alert}.md`);
  expect(existsSync(new URL(`../../${annotations.runbook_url}`, import.meta.url))).toBe(true);
});
