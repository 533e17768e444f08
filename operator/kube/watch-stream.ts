/** A watch as a sequence of events: one JSON document a line, over an answer that stays open. */
import { StringDecoder } from "node:string_decoder";
import { ApiError, type StatusBody } from "./api-error.ts";
import type { ApiRequest } from "./api-request.ts";
import type { Cluster } from "./cluster.ts";
import type { KubeObject } from "./object.ts";

export type WatchEvent<T> =
  | { type: "ADDED" | "MODIFIED" | "DELETED"; object: T }
  | { type: "BOOKMARK"; object: { metadata: { resourceVersion: string } } };

/** A line that is not a watch event. */
export class MalformedWatchLine extends Error {
  override readonly name = "MalformedWatchLine";
}

/** Neither an event nor a bookmark came in time: the connection may be dead without having been closed. */
export class IdleWatch extends Error {
  override readonly name = "IdleWatch";
}

/** Longest line that is read, bytes; etcd refuses objects over 1.5 MiB. */
const maxLineLength = 8 * 1024 * 1024;

/** Cuts a byte stream into lines; a line may come in many chunks, and a chunk may hold many lines. */
export class LineSplitter {
  readonly #decoder = new StringDecoder("utf8");
  #parts: string[] = [];
  #length = 0;

  /** The lines that `chunk` completes. */
  push(chunk: Buffer): string[] {
    const pieces = this.#decoder.write(chunk).split("\n");
    const rest = pieces.pop() ?? "";
    const lines = pieces.map((piece) => this.#complete(piece)).filter((line) => line.trim() !== "");
    this.#parts.push(rest);
    this.#length += rest.length;
    if (this.#length > maxLineLength)
      throw new MalformedWatchLine(`A line is longer than ${String(maxLineLength)} characters`);
    return lines;
  }

  #complete(piece: string): string {
    const line = this.#parts.length === 0 ? piece : this.#parts.join("") + piece;
    this.#parts = [];
    this.#length = 0;
    return line;
  }
}

/**
 * Yields the events of a watch until the server closes it; what follows the last newline is dropped, because it was
 * cut off. Throws ApiError (an ERROR event included), MalformedWatchLine, IdleWatch, or the connection's own error.
 */
export async function* watchEvents<T extends KubeObject>(
  cluster: Cluster,
  request: ApiRequest,
  idleTimeoutMs: number,
): AsyncGenerator<WatchEvent<T>, void, void> {
  const response = await cluster.stream(request);
  const watchdog = setTimeout(() => {
    response.destroy(new IdleWatch(`No event or bookmark in ${String(idleTimeoutMs)} ms`));
  }, idleTimeoutMs);
  try {
    const splitter = new LineSplitter();
    for await (const chunk of response) {
      watchdog.refresh();
      for (const line of splitter.push(chunk as Buffer)) yield parseEvent<T>(line);
    }
  } finally {
    clearTimeout(watchdog);
    response.destroy();
  }
}

function parseEvent<T>(line: string): WatchEvent<T> {
  let event: { type?: unknown; object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch {
    throw new MalformedWatchLine(`Not JSON: ${line.slice(0, 120)}`);
  }
  const { type, object } = event;
  if (typeof object !== "object" || object === null)
    throw new MalformedWatchLine(`No object: ${line.slice(0, 120)}`);
  if (type === "ERROR") {
    const status = object as StatusBody;
    const reason = status.reason ?? "Unknown";
    throw new ApiError(status.code ?? 500, reason, `The watch ended: ${status.message ?? reason}`, status);
  }
  if (type !== "ADDED" && type !== "MODIFIED" && type !== "DELETED" && type !== "BOOKMARK") {
    throw new MalformedWatchLine(`Unknown event type: ${line.slice(0, 120)}`);
  }
  if (!hasVersion(object)) throw new MalformedWatchLine(`No resourceVersion: ${line.slice(0, 120)}`);
  return { type, object } as WatchEvent<T>;
}

function hasVersion(object: object): boolean {
  const metadata = (object as Partial<KubeObject>).metadata;
  return typeof metadata?.resourceVersion === "string" && metadata.resourceVersion !== "";
}
