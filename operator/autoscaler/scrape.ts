/** One GET of a pod's metrics, with a deadline. */

/** Metrics of a pod are some tens of kilobytes. */
const mostCharacters = 4_000_000;

export interface ScrapeTarget {
  /** IP of the pod. */
  readonly address: string;
  readonly port: number;
}

export interface ScrapeLimits {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** Why a pod could not be read; what a failed fetch says of itself is only that it failed. */
export function whyUnread(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** @throws Error that says why there is no text. */
export async function scrape(
  { address, port }: ScrapeTarget,
  { deadlineMs, signal }: ScrapeLimits,
): Promise<string> {
  const host = address.includes(":") ? `[${address}]` : address;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
  const response = await fetch(`http://${host}:${port}/metrics`, { signal: limit });
  const text = await response.text();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  if (text.length > mostCharacters) throw new Error(`it answered ${text.length} characters`);
  return text;
}
