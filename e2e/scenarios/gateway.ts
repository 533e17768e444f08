/** Talks to the gateway as a client would: plain HTTP through a port-forward on loopback. */
import { z } from "zod";

const chunk = z.object({
  choices: z.array(z.object({ text: z.string().default(""), finish_reason: z.string().nullish() })),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int() }).nullish(),
  csps: z.object({ recoveries: z.int() }).optional(),
});

export interface Completion {
  readonly text: string;
  readonly finishReason: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
  /** Longest time between two chunks. */
  readonly longestPauseMs: number;
  /** How often the gateway went on elsewhere. */
  readonly recoveries: number;
}

export interface CompletionRequest {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly seed?: number;
  /** The answer has maxTokens, whatever the model says. */
  readonly ignoreEos?: boolean;
}

/**
 * One streamed completion; throws when the stream carries an error or ends without a finish reason. `onFirst` is told of the
 * first piece of text.
 */
export async function complete(
  url: string,
  model: string,
  request: CompletionRequest,
  deadlineMs: number,
  onFirst: () => void = () => undefined,
): Promise<Completion> {
  const began = Date.now();
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    // A connection that lay idle may be closed at the other end just as it is used again.
    headers: { "content-type": "application/json", connection: "close" },
    signal: AbortSignal.timeout(deadlineMs),
    body: JSON.stringify({
      model,
      prompt: request.prompt,
      max_tokens: request.maxTokens,
      temperature: request.temperature ?? 0,
      ...(request.seed === undefined ? {} : { seed: request.seed }),
      ...(request.ignoreEos === undefined ? {} : { ignore_eos: request.ignoreEos }),
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (!response.ok || response.body === null) {
    throw new Error(`the gateway answered ${response.status}: ${await response.text()}`);
  }
  let text = "";
  let finishReason = "";
  let usage = { prompt_tokens: 0, completion_tokens: 0 };
  let firstTokenMs = 0;
  let longestPauseMs = 0;
  let recoveries = 0;
  let last = Date.now();
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") break;
    const message: unknown = JSON.parse(data);
    if (typeof message === "object" && message !== null && "error" in message) {
      throw new Error(`the stream carried an error: ${JSON.stringify(message.error)}`);
    }
    const event = chunk.parse(message);
    const now = Date.now();
    if (firstTokenMs === 0) {
      firstTokenMs = now - began;
      onFirst();
    } else longestPauseMs = Math.max(longestPauseMs, now - last);
    last = now;
    text += event.choices[0]?.text ?? "";
    finishReason = event.choices[0]?.finish_reason ?? finishReason;
    usage = event.usage ?? usage;
    recoveries = event.csps?.recoveries ?? recoveries;
  }
  if (finishReason === "")
    throw new Error(`the stream ended without a finish reason after ${text.length} characters`);
  return {
    text,
    finishReason,
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    firstTokenMs,
    totalMs: Date.now() - began,
    longestPauseMs,
    recoveries,
  };
}

async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let buffered = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    buffered += text;
    const lines = buffered.split("\n");
    buffered = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}
