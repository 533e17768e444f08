/**
 * Long prompts are tokenized in slices, so that other streams go on in between. A slice ends between a letter and
 * a space with a letter after it: there every byte-level tokenizer cuts anyway, so the ids are those of the whole.
 */
import { z } from "zod";
import type { ModelDescriptor } from "../../wire/schema/model.ts";

const relevant = z.object({
  pre_tokenizer: z
    .object({ pretokenizers: z.array(z.object({ type: z.string() })) })
    .nullish()
    .catch(undefined),
  added_tokens: z
    .array(
      z.object({
        content: z.string(),
        rstrip: z.boolean().default(false),
        single_word: z.boolean().default(false),
      }),
    )
    .default([]),
});

/** Whether slicing leaves the ids as they are: not where tokens reach over such a place or look beside themselves. */
export function mayCut(tokenizer: ModelDescriptor["tokenizer"]): boolean {
  const { pre_tokenizer: pre, added_tokens: added } = relevant.parse(tokenizer);
  const steps = pre?.pretokenizers.map(({ type }) => type) ?? [];
  const plain =
    steps.includes("ByteLevel") && steps.every((type) => type === "Split" || type === "ByteLevel");
  return (
    plain &&
    added.every((token) => !token.rstrip && !token.single_word && !/\p{L} \p{L}/u.test(token.content))
  );
}

/** Slices of at least `size` characters each but the last; one slice where there is no place to cut. */
export function cutText(text: string, size: number): string[] {
  const slices: string[] = [];
  const place = /(?<=\p{L}) (?=\p{L})/gu;
  let start = 0;
  while (text.length - start > size) {
    place.lastIndex = start + size;
    const found = place.exec(text);
    if (found === null) break;
    slices.push(text.slice(start, found.index));
    start = found.index;
  }
  slices.push(text.slice(start));
  return slices;
}
