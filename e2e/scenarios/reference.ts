/** Runs the reference once for a set of prompts and keeps its answers in the cache: they can't change. */
import { join } from "node:path";
import { readFile, writeFile } from "node:fs/promises";
import { z } from "zod";
import { cachedFolder, contentKey } from "../cluster/cache.ts";
import { run } from "../cluster/command.ts";
import { pythonEnv } from "../cluster/pythonEnv.ts";
import { CHATS, PROMPTS } from "./prompts.ts";

const answers = z.record(
  z.string(),
  z.object({ prompt_tokens: z.int(), tokens: z.array(z.int()), text: z.string() }),
);

export type Answers = z.infer<typeof answers>;

export const REFERENCE_TOKENS = 64;

export async function reference(): Promise<Answers> {
  const script = join(import.meta.dirname, "reference.py");
  const request = JSON.stringify({ prompts: PROMPTS, chats: CHATS, tokens: REFERENCE_TOKENS });
  const env = await pythonEnv();
  const key = await contentKey({ paths: [script], texts: [request, env.modelFile] });
  const folder = await cachedFolder("reference", key, async (target) => {
    const output = await run(env.python, [script, env.modelFile], { input: request, timeoutMs: 45 * 60_000 });
    await writeFile(join(target, "answers.json"), output);
  });
  return answers.parse(JSON.parse(await readFile(join(folder, "answers.json"), "utf8")));
}
