/** Server-sent events on a response, opened when there is something to say. */
import type { ServerResponse } from "node:http";
import { once } from "node:events";

export interface EventWriter {
  readonly opened: boolean;
  /** Sends the head; after that a failure can only be told within the stream. */
  open(headers: Readonly<Record<string, string>>): void;
  /** Waits while the client reads too slowly; throws when it stops reading for long. */
  data(value: unknown): Promise<void>;
  /** Ignored by clients; keeps proxies from taking a long prefill for a dead connection. */
  comment(text: string): void;
  /** `[DONE]` and the end. */
  done(): void;
}

const slowReaderMs = 60_000;

export function eventWriter(response: ServerResponse): EventWriter {
  let opened = false;
  return {
    get opened() {
      return opened;
    },
    open(headers) {
      if (opened) return;
      opened = true;
      response.writeHead(200, {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        ...headers,
      });
      response.flushHeaders();
    },
    async data(value) {
      if (response.write(`data: ${JSON.stringify(value)}\n\n`) || response.destroyed) return;
      try {
        await once(response, "drain", { signal: AbortSignal.timeout(slowReaderMs) });
      } catch (cause) {
        response.destroy();
        throw new Error("the client stopped reading", { cause });
      }
    },
    comment(text) {
      if (opened) response.write(`: ${text}\n\n`);
    },
    done() {
      response.end("data: [DONE]\n\n");
    },
  };
}
