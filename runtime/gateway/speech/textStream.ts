/**
 * Tokens in, text out: bytes are decoded as whole characters, stop strings end the text, and each token's
 * log-probability comes out with the text it belongs to.
 */
import type { GeneratedToken } from "../serving/generation.ts";
import { stopFilter } from "./stopStrings.ts";
import type { TokenTable } from "./tokenBytes.ts";

/** A piece of text and the tokens whose text begins in it. */
export interface TextStep {
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly stopped: boolean;
}

export interface TextStream {
  push(token: GeneratedToken): TextStep;
  /** The end of the text; a character that never got its last byte becomes U+FFFD. */
  finish(): TextStep;
}

export function textStream(table: TokenTable, stops: readonly string[]): TextStream {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const filter = stopFilter(stops);
  let decoded = 0;
  let shown = 0;
  let waiting: { token: GeneratedToken; begins: number }[] = [];

  /** Tokens whose text begins before what has been shown; at the very end those without text as well. */
  function due(ended: boolean): GeneratedToken[] {
    const ready = waiting.filter(({ begins }) => begins < shown || ended);
    waiting = waiting.filter(({ begins }) => begins >= shown && !ended);
    return ready.map(({ token }) => token);
  }

  return {
    push(token) {
      waiting.push({ token, begins: decoded });
      const text = decoder.decode(table.bytesOf(token.tokenId), { stream: true });
      decoded += text.length;
      const step = filter.push(text);
      shown += step.text.length;
      return { ...step, tokens: due(false) };
    },
    finish() {
      const last = filter.push(decoder.decode());
      const text = last.stopped ? last.text : last.text + filter.flush();
      shown += text.length;
      return { text, tokens: due(!last.stopped), stopped: last.stopped };
    },
  };
}
