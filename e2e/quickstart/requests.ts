/** Two requests through the OpenAI client, streamed, with the times that a user feels. */
import OpenAI from "openai";

export interface Answer {
  text: string;
  promptTokens: number;
  completionTokens: number;
  /** From sending the request to the first piece of text. */
  firstTokenMs: number;
  /** Between the first and the last token; 0 when there was one token. */
  tokensPerSecond: number;
  /** Headers of the response that tell who served it, by name. */
  servedBy: Record<string, string>;
}

const TIMEOUT_MS = 600_000;

interface Piece {
  text: string;
  usage: { prompt_tokens: number; completion_tokens: number } | undefined;
}

async function collect(pieces: AsyncIterable<Piece>, startedAt: number, headers: Headers): Promise<Answer> {
  let text = "";
  let usage: Piece["usage"];
  let first = 0;
  let last = 0;
  for await (const piece of pieces) {
    if (piece.text !== "") {
      last = performance.now();
      if (first === 0) first = last;
      text += piece.text;
    }
    usage = piece.usage ?? usage;
  }
  if (usage === undefined || first === 0) throw new Error("the stream ended without text or without usage");
  const intervals = usage.completion_tokens - 1;
  return {
    text,
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    firstTokenMs: first - startedAt,
    tokensPerSecond: intervals > 0 && last > first ? (intervals * 1000) / (last - first) : 0,
    servedBy: Object.fromEntries([...headers].filter(([name]) => name.startsWith("x-csps-"))),
  };
}

function client(baseUrl: string): OpenAI {
  return new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: "none", timeout: TIMEOUT_MS, maxRetries: 0 });
}

/** Names of the models that the endpoint serves. */
export async function servedModels(baseUrl: string): Promise<string[]> {
  const page = await client(baseUrl).models.list();
  return page.data.map((model) => model.id);
}

export async function chat(baseUrl: string, model: string, question: string): Promise<Answer> {
  const startedAt = performance.now();
  const { data, response } = await client(baseUrl)
    .chat.completions.create({
      model,
      messages: [{ role: "user", content: question }],
      max_completion_tokens: 64,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    })
    .withResponse();
  async function* pieces(): AsyncGenerator<Piece> {
    for await (const chunk of data) {
      yield { text: chunk.choices[0]?.delta.content ?? "", usage: chunk.usage ?? undefined };
    }
  }
  return collect(pieces(), startedAt, response.headers);
}

export async function complete(baseUrl: string, model: string, prompt: string): Promise<Answer> {
  const startedAt = performance.now();
  const { data, response } = await client(baseUrl)
    .completions.create({
      model,
      prompt,
      max_tokens: 48,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    })
    .withResponse();
  async function* pieces(): AsyncGenerator<Piece> {
    for await (const chunk of data)
      yield { text: chunk.choices[0]?.text ?? "", usage: chunk.usage ?? undefined };
  }
  return collect(pieces(), startedAt, response.headers);
}
