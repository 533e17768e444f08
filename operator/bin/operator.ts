/** The operator's process: options, start, and an orderly end on SIGTERM or when the leadership is lost. */
import { createLogger } from "../observability/logger.ts";
import { startOperator } from "./compose.ts";
import { parseOptions, usage, type OperatorOptions } from "./options.ts";

const version = "0.1.0";
/** The kubelet kills after 30 s; past this the Lease is left to expire. */
const stopDeadlineMs = 20_000;

async function main(options: OperatorOptions): Promise<number> {
  const logger = createLogger({ level: options.logLevel, fields: { component: "operator" } });
  const asked = new Promise<string>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  logger.info("Starting", {
    version,
    leaderElect: options.leaderElect,
    namespace: options.namespace ?? "all",
  });
  const running = startOperator(options, { logger, version });
  // A signal during the start ends the process at once: nothing has been written yet.
  const operator = await Promise.race([running, asked]);
  if (typeof operator === "string") return 0;
  const lost = operator.lost.then((reason) => ({ lost: reason }));
  const cause = await Promise.race([asked, lost]);
  logger.info("Stopping", typeof cause === "string" ? { signal: cause } : cause);
  const timer = setTimeout(() => {
    logger.error("The stop did not end in time");
    process.exit(1);
  }, stopDeadlineMs);
  await operator.stop();
  clearTimeout(timer);
  logger.info("Stopped");
  // Caches may be stale after a lost term: the next process begins with fresh ones.
  return typeof cause === "string" ? 0 : 1;
}

function readOptions(): OperatorOptions | undefined {
  try {
    return parseOptions(process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    process.exit(2);
  }
}

const options = readOptions();
if (options === undefined) process.stdout.write(usage);
else process.exit(await main(options));
