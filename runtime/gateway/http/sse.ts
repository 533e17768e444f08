/** Server-sent events on a response, opened when there is something to say. */
import type { ServerResponse } from "node:http";

export interface EventWriter {
  readonly opened: boolean;
  /** Sends the head; after that a failure can only be told within the stream. */
  open(headers: Readonly<Record<string, string>>): void;
  /** Waits while the client reads too slowly; throws when it stops reading for long. Nothing once it has left. */
  data(value: unknown): Promise<void>;
  /** Ignored by clients; keeps proxies from taking a long prefill for a dead connection. */
  comment(text: string): void;
  /** `[DONE]` and the end; whatever another choice still says after it is not sent. */
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
      if (response.writableEnded || response.destroyed) return;
      if (response.write(`data: ${JSON.stringify(value)}\n\n`)) return;
      await drained(response);
    },
    comment(text) {
      // A write after the end would be an error that nobody listens to, and so the end of the process.
      if (opened && !response.writableEnded) response.write(`: ${text}\n\n`);
    },
    done() {
      if (!response.writableEnded) response.end("data: [DONE]\n\n");
    },
  };
}

/** Returns when the client has read, or has left: then nothing drains any more. */
async function drained(response: ServerResponse): Promise<void> {
  const reads = await new Promise<boolean>((resolve) => {
    const end = (read: boolean): void => {
      clearTimeout(timer);
      response.off("drain", over).off("close", over);
      resolve(read);
    };
    const over = (): void => {
      end(true);
    };
    const timer = setTimeout(end, slowReaderMs, false);
    response.on("drain", over).on("close", over);
    if (response.destroyed) over();
  });
  if (reads) return;
  response.destroy();
  throw new Error("the client stopped reading");
}
