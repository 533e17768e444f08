/** Whether public images can be had, asked once per process with a short deadline. */
import { succeeds } from "./command.ts";

/** What the Docker daemon's default registry is asked for: the smallest answer there is, and nothing is pulled. */
const PUBLIC_IMAGE = "debian:trixie-slim";
const DEADLINE_MS = 8_000;

let answer: Promise<boolean> | undefined;

function probe(): Promise<boolean> {
  return succeeds("docker", ["manifest", "inspect", PUBLIC_IMAGE], { timeoutMs: DEADLINE_MS });
}

/** Whether the public image registry answers. `CSPS_REGISTRY=none` says no without asking. */
export function registryAnswers(): Promise<boolean> {
  answer ??= process.env["CSPS_REGISTRY"] === "none" ? Promise.resolve(false) : probe();
  return answer;
}
