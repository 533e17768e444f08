/** How to speak for a model: text to token ids, messages to a prompt, and back to bytes. */
import { setImmediate } from "node:timers/promises";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import type { ModelDescriptor } from "../../wire/schema/model.ts";
import type { ChatMessage } from "../api/chatRequest.ts";
import { badRequest } from "../api/apiError.ts";
import { cutText, mayCut } from "./cutText.ts";
import type { TokenTable } from "./tokenBytes.ts";
import { tokenTable } from "./tokenBytes.ts";

/** What is used of the library: its own declarations import each other in a way that does not resolve here. */
type TokenizerClass = new (
  tokenizer: object,
  config: object,
) => { encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] } };

const HuggingFaceTokenizer = Tokenizer as unknown as TokenizerClass;

export interface Speech {
  readonly descriptor: ModelDescriptor;
  readonly table: TokenTable;
  /** Ids of a plain prompt, with BOS where the model wants one. */
  promptIds(text: string): Promise<number[]>;
  /** Ids of a conversation by the model's chat template, which writes its own special tokens. */
  chatIds(messages: readonly ChatMessage[]): Promise<number[]>;
  /** The text of `chatIds`. */
  chatPrompt(messages: readonly ChatMessage[]): string;
}

/** About ten milliseconds of work. */
const defaultSliceChars = 8_192;

/** Builds the tokenizer and the template once; this takes a moment for a large vocabulary. */
export function createSpeech(descriptor: ModelDescriptor, sliceChars = defaultSliceChars): Speech {
  const tokenizer = new HuggingFaceTokenizer(descriptor.tokenizer, descriptor.tokenizerConfig);
  const template = descriptor.chatTemplate === "" ? undefined : new Template(descriptor.chatTemplate);
  const bos = descriptor.addBos && descriptor.bosTokenId !== undefined ? [descriptor.bosTokenId] : [];

  const size = mayCut(descriptor.tokenizer) ? sliceChars : Number.POSITIVE_INFINITY;

  async function encode(text: string): Promise<number[]> {
    const ids: number[][] = [];
    for (const slice of cutText(text, size)) {
      if (ids.length > 0) await setImmediate();
      ids.push(tokenizer.encode(slice, { add_special_tokens: false }).ids);
    }
    return ids.flat();
  }

  function chatPrompt(messages: readonly ChatMessage[]): string {
    if (template === undefined) {
      throw badRequest(`Model ${descriptor.name} has no chat template; use /v1/completions.`, {
        param: "messages",
        code: "no_chat_template",
      });
    }
    try {
      return template.render({ ...specialTokens(descriptor), messages, add_generation_prompt: true });
    } catch (error) {
      // Templates refuse what they cannot say, such as roles out of turn.
      const reason = error instanceof Error ? error.message : String(error);
      throw badRequest(`The chat template refused the messages: ${reason}`, {
        param: "messages",
        code: "invalid_value",
      });
    }
  }

  return {
    descriptor,
    table: tokenTable(descriptor.tokenizer),
    promptIds: async (text) => [...bos, ...(await encode(text))],
    chatIds: async (messages) => await encode(chatPrompt(messages)),
    chatPrompt,
  };
}

/** Templates write special tokens by name. */
function specialTokens({ tokenizerConfig }: ModelDescriptor): Record<string, string> {
  const names = ["bos_token", "eos_token", "unk_token", "pad_token"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const token = tokenizerConfig[name];
      if (typeof token === "string") return [[name, token]];
      if (
        typeof token === "object" &&
        token !== null &&
        "content" in token &&
        typeof token.content === "string"
      ) {
        return [[name, token.content]];
      }
      return [[name, ""]];
    }),
  );
}
