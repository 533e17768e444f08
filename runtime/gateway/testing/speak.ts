/**
 * Speaks for a descriptor on standard input and output, so that the engine's tests can hold the gateway's
 * tokenizer to Hugging Face's: `{descriptor, texts, chats}` in, `{ids, prompts, chatIds, decoded}` out.
 */
import { text } from "node:stream/consumers";
import { z } from "zod";
import { modelDescriptor } from "../../wire/schema/model.ts";
import { createSpeech } from "../speech/speech.ts";
import { textStream } from "../speech/textStream.ts";

const question = z.object({
  descriptor: modelDescriptor,
  texts: z.array(z.string()),
  chats: z.array(z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() }))),
});

const { descriptor, texts, chats } = question.parse(JSON.parse(await text(process.stdin)));
const speech = createSpeech(descriptor);
const ids = await Promise.all(texts.map(async (each) => await speech.promptIds(each)));
const decoded = ids.map((tokens) => {
  const stream = textStream(speech.table, []);
  return tokens.map((tokenId) => stream.push({ tokenId }).text).join("") + stream.finish().text;
});
const answer = {
  ids,
  decoded,
  prompts: chats.map((messages) => speech.chatPrompt(messages)),
  chatIds: await Promise.all(chats.map(async (messages) => await speech.chatIds(messages))),
};
process.stdout.write(JSON.stringify(answer));
