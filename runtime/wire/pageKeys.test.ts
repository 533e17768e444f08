/** The golden keys are read here and by runtime/engine/tests/books/test_page_keys.py: both must agree. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { z } from "zod";
import { pageKeys } from "./pageKeys.ts";

const golden = z.array(
  z.object({
    kvFormat: z.string(),
    pageTokens: z.int(),
    tokenIds: z.array(z.int()),
    cacheSalt: z.string().optional(),
    keys: z.array(z.string()),
  }),
);
const cases = golden.parse(
  JSON.parse(readFileSync(new URL("pageKeys.golden.json", import.meta.url), "utf8")),
);

it.each(cases)(
  "gives the golden keys of $tokenIds.length tokens in form $kvFormat with salt $cacheSalt",
  ({ kvFormat, tokenIds, pageTokens, cacheSalt, keys }) => {
    expect(pageKeys(kvFormat, tokenIds, pageTokens, cacheSalt)).toEqual(keys);
  },
);
