/** Length classes of prompts as the operator hands them over: `short:4096,long:65536`, ascending. */

export interface LengthClass {
  readonly name: string;
  readonly upToTokens: number;
}

/** What is taken when no classes are given: every prompt is alike. */
export const oneClass: readonly LengthClass[] = [{ name: "all", upToTokens: Number.MAX_SAFE_INTEGER }];

const form = /^([a-z][-a-z0-9]*):([1-9][0-9]*)$/;

/** @returns undefined when the text is not such a list. */
export function parseLengthClasses(text: string): readonly LengthClass[] | undefined {
  if (text === "") return oneClass;
  const classes: LengthClass[] = [];
  for (const part of text.split(",")) {
    const [, name, tokens] = form.exec(part) ?? [];
    const upToTokens = Number(tokens);
    if (name === undefined || upToTokens <= (classes.at(-1)?.upToTokens ?? 0)) return undefined;
    classes.push({ name, upToTokens });
  }
  return classes;
}

/** Longer prompts than any class count to the last. */
export function classOf(classes: readonly LengthClass[], tokens: number): string {
  return (classes.find((one) => tokens <= one.upToTokens) ?? classes.at(-1))?.name ?? "all";
}
