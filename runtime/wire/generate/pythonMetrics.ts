/** The engine's side of `engineMetrics`: a Python constant for each, and all of them in a tuple. */
import { type EngineMetric, engineMetrics } from "../engineMetrics.ts";

const prelude = `"""Gauges of what a rank holds and what waits, as the operator reads them.

Generated from runtime/wire/engineMetrics.ts by \`npm run generate\`; do not edit.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class EngineMetric(NamedTuple):
    """A gauge by its name, what it tells, and its labels."""

    name: str
    about: str
    labels: tuple[str, ...] = ()


`;

/** The whole module `csps_engine/wire/engine_metrics.py`. */
export function pythonMetrics(): string {
  const metrics = Object.entries<EngineMetric>(engineMetrics);
  const constants = metrics.map(([key, metric]) => declaration(constantOf(key), metric));
  const all = metrics.map(([key]) => `    ${constantOf(key)},`);
  return `${prelude}${constants.join("\n")}\n\nENGINE_METRICS: Final = (\n${all.join("\n")}\n)\n`;
}

function declaration(constant: string, { name, about, labels = [] }: EngineMetric): string {
  const text = [name, about].map((part) => `    ${JSON.stringify(part)},`);
  const labelled = labels.map((label) => JSON.stringify(label)).join(", ");
  const last = labels.length === 0 ? [] : [`    (${labelled}${labels.length === 1 ? "," : ""}),`];
  return [`${constant}: Final = EngineMetric(`, ...text, ...last, ")"].join("\n");
}

function constantOf(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}
