/** Columns of text, and words that stand out on a terminal. */
export type Tone = "good" | "bad" | "open" | "heading" | "plain";

/** Text that may be shown in a colour; its width is that of the text. */
export interface Toned {
  readonly text: string;
  readonly tone: Tone;
}

export type Cell = string | Toned;
export type Paint = (cell: Cell) => string;

const codes: Record<Tone, string> = { good: "32", bad: "31", open: "33", heading: "1", plain: "" };

/** `colour` false gives the bare text. */
export function paintWith(colour: boolean): Paint {
  return (cell) => {
    if (typeof cell === "string") return cell;
    const code = codes[cell.tone];
    return colour && code !== "" ? `\u001b[${code}m${cell.text}\u001b[0m` : cell.text;
  };
}

export const heading = (text: string): Toned => ({ text, tone: "heading" });

/** Rows under a line of headings, two spaces between columns; the last column may be of any width. */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[], paint: Paint): string {
  const all = [headings.map(heading), ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ""))));
  const line = (row: readonly Cell[]): string =>
    headings
      .map((_, column) => {
        const cell = row[column] ?? "";
        const gap = column === headings.length - 1 ? 0 : (widths[column] ?? 0) - width(cell);
        return paint(cell) + " ".repeat(gap);
      })
      .join("  ")
      .trimEnd();
  return all.map(line).join("\n");
}

export function indent(text: string, by = "  "): string {
  return text
    .split("\n")
    .map((line) => (line === "" ? line : by + line))
    .join("\n");
}

function width(cell: Cell): number {
  return (typeof cell === "string" ? cell : cell.text).length;
}
