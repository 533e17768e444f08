/** Log-probabilities in the forms of the two APIs. */
import type { GeneratedToken } from "../serving/generation.ts";
import type { TokenTable } from "../speech/tokenBytes.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A token's text by itself; a part of a character shows as U+FFFD, which is why chat also gives the bytes. */
function spelled(table: TokenTable, tokenId: number): { token: string; bytes: number[] } {
  const name = table.specialName(tokenId);
  if (name !== undefined) return { token: name, bytes: [...new TextEncoder().encode(name)] };
  const bytes = table.bytesOf(tokenId);
  return { token: utf8.decode(bytes), bytes: [...bytes] };
}

interface ChatLogprob {
  token: string;
  logprob: number;
  bytes: number[];
}

export interface ChatLogprobs {
  content: (ChatLogprob & { top_logprobs: ChatLogprob[] })[];
}

export function chatLogprobs(table: TokenTable, tokens: readonly GeneratedToken[]): ChatLogprobs {
  return {
    content: tokens.map(({ tokenId, logprob = 0, topLogprobs = [] }) => ({
      ...spelled(table, tokenId),
      logprob,
      top_logprobs: topLogprobs.map((top) => ({ ...spelled(table, top.tokenId), logprob: top.logprob })),
    })),
  };
}

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  text_offset: number[];
}

/** `offset` is the length of the choice's text before these tokens. */
export function completionLogprobs(
  table: TokenTable,
  tokens: readonly GeneratedToken[],
  offset: number,
): CompletionLogprobs {
  let next = offset;
  const offsets: number[] = [];
  const names = tokens.map(({ tokenId }) => {
    const { token } = spelled(table, tokenId);
    offsets.push(next);
    next += token.length;
    return token;
  });
  return {
    tokens: names,
    token_logprobs: tokens.map(({ logprob = 0 }) => logprob),
    top_logprobs: tokens.map(({ topLogprobs = [] }) =>
      Object.fromEntries(topLogprobs.map(({ tokenId, logprob }) => [spelled(table, tokenId).token, logprob])),
    ),
    text_offset: offsets,
  };
}
