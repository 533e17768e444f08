/**
 * The environment of a rank's container: what the operator sets and the engine reads. One source, so that
 * neither side can rename a variable alone. All values are strings, as in a pod.
 */
import { z } from "zod";

export const rankEnvironment = z
  .object({
    CSPS_NAMESPACE: z.string(),
    CSPS_DEPLOYMENT: z.string(),
    CSPS_GROUP: z.string().describe("Name of the SPGroup or DecodePool"),
    CSPS_ROLE: z.enum(["prefill", "decode"]),
    CSPS_RANK_ID: z.string().describe("<group>-<ordinal>"),
    CSPS_INCARNATION: z.string().describe("Pod UID, by the downward API"),
    CSPS_ADDRESS: z.string().describe("Pod IP, by the downward API"),
    CSPS_CONTROL_PORT: z.string().describe("Default 9000"),
    CSPS_TRANSFER_PORT: z.string().describe("Default 9001"),
    CSPS_CONTROL_TOKEN_FILE: z.string().describe("File with the bearer token of the control API"),
    CSPS_REDIS_URL_FILE: z
      .string()
      .describe("File with the Redis URL of the deployment; empty or absent: no Redis"),
    CSPS_MODEL_PATH: z
      .string()
      .describe("Folder with *.gguf, or config.json + *.safetensors + tokenizer.json"),
    CSPS_MODEL_NAME: z.string(),
    CSPS_CONTEXT_LENGTH: z.string(),
    CSPS_BACKEND: z.enum(["cpu", "cuda"]),
    CSPS_DTYPE: z.enum(["auto", "float32", "bfloat16", "float16"]),
    CSPS_TENSOR_PARALLEL: z.string().describe("Degree; default 1"),
    CSPS_SP_MODE: z.enum(["auto", "allToAll", "kvGather"]),
    CSPS_SPARSE_ATTENTION: z.enum(["disabled", "enabled"]),
    CSPS_SPARSE_MIN_TOKENS: z
      .string()
      .describe("Shorter prompts, and in decode shorter requests, are computed exactly"),
    CSPS_SPARSE_BUDGET_PERCENT: z
      .string()
      .describe("Prefill: of the keys of other ranks, fetched at most while the floor holds"),
    CSPS_SPARSE_QUALITY_FLOOR_PERCENT: z
      .string()
      .describe("Prefill: mean attention mass covered, below which ranks fetch more"),
    CSPS_SPARSE_THRESHOLD_PERCENT: z
      .string()
      .describe(
        "Decode: what blocks that are left out may be expected to weigh together, of the weightiest block",
      ),
    CSPS_KV_BYTES: z
      .string()
      .describe("Bytes of this rank for KV pages; empty: 512 MiB on cpu, what is left on cuda"),
    CSPS_DRAIN_GRACE_MS: z
      .string()
      .describe("Time after SIGTERM for handing over KV; shorter than the pod's grace period"),
    CSPS_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]),
  })
  .describe("Environment of a rank's container: the operator sets it, the engine reads it");

/** The environment of the gateway's container. */
export const gatewayEnvironment = z
  .object({
    CSPS_NAMESPACE: z.string(),
    CSPS_DEPLOYMENT: z.string(),
    CSPS_MODEL_NAME: z.string(),
    CSPS_PORT: z.string().describe("Default 8000"),
    CSPS_RANKS_HOST: z.string().describe("Headless Service that resolves to every rank's pod IP"),
    CSPS_CONTROL_PORT: z.string(),
    CSPS_CONTROL_TOKEN_FILE: z.string(),
    CSPS_REDIS_URL_FILE: z.string(),
    CSPS_API_KEYS_DIR: z
      .string()
      .describe("Folder whose files each hold an accepted API key; empty: no key is asked for"),
    CSPS_LENGTH_CLASSES: z
      .string()
      .describe(
        "Length classes of prompts, as short:4096:2000,long:65536:5000: name, most tokens and, where there is one, the objective in ms until the first token. Empty: one class without",
      ),
    CSPS_WAKE_MS: z
      .string()
      .describe("How long a request waits for ranks of a deployment scaled to zero; 0: not at all"),
    CSPS_WAKE_MAX_WAITING: z.string().describe("Requests that wait so at once; more are refused"),
    CSPS_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]),
  })
  .describe("Environment of the gateway's container");

export type RankEnvironment = z.infer<typeof rankEnvironment>;
export type GatewayEnvironment = z.infer<typeof gatewayEnvironment>;
