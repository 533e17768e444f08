/** A verb's answer: data for machines, text for people. */
import { dump } from "js-yaml";
import type { Format } from "../commandLine.ts";
import { type Paint, paintWith } from "./table.ts";

export interface Report {
  readonly data: unknown;
  readonly text: (paint: Paint) => string;
  readonly exit: number;
}

export function printed(report: Report, format: Format, colour: boolean): string {
  // Through JSON, so that what is undefined is left out and both formats say the same.
  const json = JSON.stringify(report.data, undefined, 2);
  if (format === "json") return `${json}\n`;
  if (format === "yaml") return dump(JSON.parse(json));
  return `${report.text(paintWith(colour)).trimEnd()}\n`;
}
