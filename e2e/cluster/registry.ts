/** Whether public images can be had, asked once per process with a short deadline. */

const REGISTRY = "https://registry-1.docker.io/v2/";
const DEADLINE_MS = 4_000;

let answer: Promise<boolean> | undefined;

async function probe(): Promise<boolean> {
  try {
    const response = await fetch(REGISTRY, { signal: AbortSignal.timeout(DEADLINE_MS) });
    // 401 is a registry's way to ask for a token, which the Docker daemon gets by itself.
    return response.status === 200 || response.status === 401;
  } catch {
    return false;
  }
}

/** Whether the public image registry answers. `CSPS_REGISTRY=none` says no without asking. */
export function registryAnswers(): Promise<boolean> {
  answer ??= process.env["CSPS_REGISTRY"] === "none" ? Promise.resolve(false) : probe();
  return answer;
}
