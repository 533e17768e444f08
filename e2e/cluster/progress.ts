/** Lines that tell a waiting person what is being done, how long it has taken, and that it is not stuck. */

const HEARTBEAT_MS = 20_000;

function seconds(sinceMs: number): string {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
}

export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Runs `work` under a title: one line at its start, one each 20 s, one at its end with the time it took. */
export async function step<T>(
  title: string,
  work: (detail: (text: string) => void) => Promise<T>,
): Promise<T> {
  const started = Date.now();
  let latest = "";
  say(`  ${title} ...`);
  const timer = setInterval(() => {
    say(`  ${title} ... ${seconds(started)}${latest === "" ? "" : `, ${latest}`}`);
  }, HEARTBEAT_MS);
  try {
    const result = await work((text) => {
      latest = text;
    });
    say(`  ${title}: done in ${seconds(started)}`);
    return result;
  } catch (error) {
    say(`  ${title}: failed after ${seconds(started)}`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}
