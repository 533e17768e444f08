/** Starts the gateway from its environment; see `--help`. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRedisClusterState } from "../state/redisClusterState.ts";
import type { ClusterState } from "../state/clusterState.ts";
import { createRankClient } from "../wire/rankClient.ts";
import { createApp } from "./app.ts";
import { classOf } from "./demand/lengthClass.ts";
import { createWaitingRoom } from "./demand/waitingRoom.ts";
import { apiKeysIn, openToAll } from "./http/apiKeys.ts";
import { createLog } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { rankFinder } from "./ranks/addresses.ts";
import { createDegrees } from "./ranks/degrees.ts";
import { createModelSource } from "./ranks/modelSource.ts";
import { createRankView } from "./ranks/rankView.ts";
import { createAdmission } from "./serving/admission.ts";
import { createPrefixMemory } from "./serving/prefixMemory.ts";
import { countRecoveries } from "./serving/recovery.ts";
import { defaultPatience } from "./serving/generation.ts";
import { sharePrefixes } from "./serving/sharedPrefixes.ts";
import { serve } from "./serve.ts";
import type { Settings } from "./settings.ts";
import { help, readSettings } from "./settings.ts";

const keysRefreshMs = 10_000;

async function start(settings: Settings): Promise<void> {
  const log = createLog(settings.CSPS_LOG_LEVEL);
  const metrics = createMetrics(settings.CSPS_LENGTH_CLASSES);
  const readToken = (): string => readFileSync(settings.CSPS_CONTROL_TOKEN_FILE, "utf8").trim();
  const client = createRankClient({ token: readToken });
  const clusterState = openClusterState(settings, metrics);
  const degrees = createDegrees(clusterState);
  const prefixes = sharePrefixes(createPrefixMemory(), clusterState);
  const recovered = countRecoveries(metrics, Date.now);
  const view = createRankView({
    client,
    find: rankFinder(settings.CSPS_RANKS_HOST, settings.CSPS_CONTROL_PORT),
    ...(clusterState === undefined ? {} : { clusterState }),
    now: Date.now,
    warn: log.warn,
  });
  const keys = settings.CSPS_API_KEYS_DIR === "" ? openToAll : apiKeysIn(settings.CSPS_API_KEYS_DIR);
  await keys.refresh();
  const refresh = setInterval(() => {
    keys.refresh().catch((error: unknown) => {
      log.warn("API keys could not be read again", { reason: String(error) });
    });
  }, keysRefreshMs);

  const waitingRoom = createWaitingRoom({
    view,
    demand: metrics.demand,
    waitMs: settings.CSPS_WAKE_MS,
    maxWaiting: settings.CSPS_WAKE_MAX_WAITING,
    now: Date.now,
  });
  let draining = false;
  const app = createApp({
    generation: {
      client,
      view,
      admission: createAdmission({
        client,
        view,
        now: Date.now,
        prefixes,
        wantedDegree: (tokens) => degrees.wanted(tokens),
        exact: (tokens) => degrees.exact(tokens),
        ttftMs: (tokens) => classOf(settings.CSPS_LENGTH_CLASSES, tokens)?.ttftMs,
        awake: (signal) => waitingRoom.pass(signal),
      }),
      patience: defaultPatience,
      recovered(recovery) {
        log.warn("a generation goes on elsewhere", { ...recovery });
        return recovered(recovery);
      },
    },
    model: createModelSource(client, view, log.warn),
    metrics,
    waitingRoom,
    nowSeconds: () => Math.floor(Date.now() / 1000),
    startedSeconds: Math.floor(Date.now() / 1000),
    openStreamMs: 5_000,
    modelName: settings.CSPS_MODEL_NAME,
    keys,
    view,
    log,
    maxBodyBytes: settings.CSPS_MAX_BODY_BYTES,
    draining: () => draining,
  });
  view.start();
  degrees.start();
  prefixes.start();
  const server = await serve(app, settings.CSPS_PORT);
  log.info("serving", { port: server.port, model: settings.CSPS_MODEL_NAME });

  let ending = false;
  const end = (signal: string): void => {
    if (ending) return;
    ending = true;
    draining = true;
    log.info("ending", { signal, graceMs: settings.CSPS_GRACE_MS });
    void server.drain(settings.CSPS_GRACE_MS).then(async (finished) => {
      clearInterval(refresh);
      view.stop();
      degrees.stop();
      prefixes.stop();
      await Promise.all([client.close(), clusterState?.close()]);
      log.info("ended", { finished });
      process.exit(finished ? 0 : 1);
    });
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
}

function openClusterState(
  settings: Settings,
  metrics: ReturnType<typeof createMetrics>,
): ClusterState | undefined {
  const file = settings.CSPS_REDIS_URL_FILE;
  const url = file === "" ? "" : readOptional(file);
  if (url === "") return undefined;
  const ca = readOptional(join(dirname(file), "ca.crt"));
  return createRedisClusterState({
    url,
    ...(ca === "" ? {} : { ca }),
    deployment: `${settings.CSPS_NAMESPACE}/${settings.CSPS_DEPLOYMENT}`,
    now: Date.now,
    observe({ verb, problem }) {
      metrics.stateCalls.inc({ verb, outcome: problem ?? "ok" });
    },
  });
}

/** Redis is optional, and so is its Secret. */
function readOptional(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(help);
    return;
  }
  if (argv.length > 0) throw new Error(`unknown argument ${argv.join(" ")}; see --help`);
  await start(readSettings(process.env));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`gateway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
});
