/** One choice of an answer: a generation as text, ended by a stop string, an end token or the token limit. */
import type { Speech } from "../speech/speech.ts";
import { textStream } from "../speech/textStream.ts";
import type { GeneratedToken, GenerationEvent, GenerationOrder } from "./generation.ts";

export type ChoiceEvent =
  | { readonly type: "progress"; readonly layersDone: number; readonly layers: number }
  | { readonly type: "text"; readonly text: string; readonly tokens: readonly GeneratedToken[] }
  | { readonly type: "end"; readonly reason: "stop" | "length"; readonly completionTokens: number };

export interface ChoiceSettings {
  readonly speech: Speech;
  readonly stops: readonly string[];
  /** Told of each token as it comes, for metrics. */
  readonly tokenCame: () => void;
}

/** Yields text as it becomes certain. Ending early, or being ended, stops the generation. */
export async function* speakChoice(
  events: AsyncGenerator<GenerationEvent, void, undefined>,
  order: Pick<GenerationOrder, "stopTokenIds">,
  settings: ChoiceSettings,
): AsyncGenerator<ChoiceEvent, void, undefined> {
  const text = textStream(settings.speech.table, settings.stops);
  let completionTokens = 0;
  for await (const event of events) {
    if (event.type === "progress") {
      yield event;
    } else if (event.type === "token") {
      completionTokens += 1;
      settings.tokenCame();
      // The token that ends the answer is counted and not shown.
      if (order.stopTokenIds.includes(event.token.tokenId)) continue;
      const step = text.push(event.token);
      yield { type: "text", text: step.text, tokens: step.tokens };
      if (step.stopped) {
        yield { type: "end", reason: "stop", completionTokens };
        return;
      }
    } else {
      const last = text.finish();
      if (last.text !== "" || last.tokens.length > 0)
        yield { type: "text", text: last.text, tokens: last.tokens };
      yield { type: "end", reason: last.stopped ? "stop" : event.reason, completionTokens };
      return;
    }
  }
}
