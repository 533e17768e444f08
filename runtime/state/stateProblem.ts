/** Names what went wrong between us and Redis. */
import type { StateProblem } from "./clusterState.ts";

const signs: readonly { readonly problem: StateProblem; readonly sign: RegExp }[] = [
  { problem: "timeout", sign: /timed out|timeout/i },
  { problem: "readOnly", sign: /^READONLY|READONLY You can't write|MISCONF/ },
  {
    problem: "untrusted",
    sign: /self-signed certificate|unable to verify|CERT_|certificate has expired|altnames/,
  },
  { problem: "full", sign: /^OOM|OOM command not allowed/ },
  { problem: "denied", sign: /\b(NOAUTH|WRONGPASS|NOPERM)/ },
  {
    problem: "unreachable",
    sign: /isn't writeable|ECONN|EPIPE|ENOENT|ENOTFOUND|EAI_AGAIN|Connection is closed|max retries|LOADING|CLUSTERDOWN|Failed to refresh slots|None of startup nodes|All sentinels are unreachable/,
  },
];

/**
 * `failed` when the error is none that is known: a fault of a script or of this adapter. While there is no
 * connection the reason is that of `refusal`, the last error met in making one.
 */
export function stateProblem(error: unknown, refusal?: Error): StateProblem {
  const named = problemIn(error);
  const told = refusal === undefined ? undefined : problemIn(refusal);
  return named === "unreachable" && (told === "denied" || told === "untrusted") ? told : named;
}

function problemIn(error: unknown): StateProblem {
  const message = error instanceof Error ? error.message : String(error);
  return signs.find(({ sign }) => sign.test(message))?.problem ?? "failed";
}
