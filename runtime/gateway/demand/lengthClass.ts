/** Length classes of prompts as the operator hands them over: `short:4096:2000,long:65536:5000`, ascending. */

export interface LengthClass {
  readonly name: string;
  readonly upToTokens: number;
  /** Objective for the first token, from the arrival. */
  readonly ttftMs?: number;
}

/** What is taken when no classes are given: every prompt is alike. */
export const oneClass = [
  { name: "all", upToTokens: Number.MAX_SAFE_INTEGER },
] as const satisfies readonly LengthClass[];

const form = /^([a-z][-a-z0-9]*):([1-9][0-9]*)(?::([1-9][0-9]*))?$/;

/** @returns undefined when the text is not such a list. */
export function parseLengthClasses(text: string): readonly LengthClass[] | undefined {
  if (text === "") return oneClass;
  const classes: LengthClass[] = [];
  for (const part of text.split(",")) {
    const [, name, tokens, ttftMs] = form.exec(part) ?? [];
    const upToTokens = Number(tokens);
    if (name === undefined || upToTokens <= (classes.at(-1)?.upToTokens ?? 0)) return undefined;
    classes.push({ name, upToTokens, ...(ttftMs !== undefined && { ttftMs: Number(ttftMs) }) });
  }
  return classes;
}

/** Longer prompts than any class count to the last. */
export function classOf(classes: readonly LengthClass[], tokens: number): LengthClass | undefined {
  return classes.find((one) => tokens <= one.upToTokens) ?? classes.at(-1);
}
