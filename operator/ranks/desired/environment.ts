/** The environment of a rank's container, from its gang's design. */
import type { RankEnvironment } from "../../../runtime/wire/schema/environment.ts";
import { parseQuantityMilli } from "../../planning/topology/quantity.ts";
import type { GangDesign } from "../gang.ts";
import { controlPort, transferPort } from "../names.ts";
import { controlTokenFile, modelFolder, redisUrlFile } from "./volumes.ts";
import type { Container } from "./security.ts";

type Variable = NonNullable<Container["env"]>[number];

export function rankVariables(design: GangDesign, rankId: string): Variable[] {
  const values: Omit<RankEnvironment, "CSPS_INCARNATION" | "CSPS_ADDRESS"> = {
    CSPS_NAMESPACE: design.namespace,
    CSPS_DEPLOYMENT: design.deployment,
    CSPS_GROUP: design.name,
    CSPS_ROLE: design.role,
    CSPS_RANK_ID: rankId,
    CSPS_CONTROL_PORT: String(controlPort),
    CSPS_TRANSFER_PORT: String(transferPort),
    CSPS_CONTROL_TOKEN_FILE: controlTokenFile,
    CSPS_REDIS_URL_FILE: redisUrlFile,
    CSPS_MODEL_PATH: modelFolder(design.model.source),
    CSPS_MODEL_NAME: design.model.name,
    CSPS_CONTEXT_LENGTH: String(design.model.contextLength),
    CSPS_BACKEND: design.engine.backend,
    CSPS_DTYPE: design.engine.dtype,
    CSPS_TENSOR_PARALLEL: String(design.tensorParallel.degree),
    CSPS_SP_MODE: design.mode,
    CSPS_SPARSE_ATTENTION:
      ((design.sparseAttention ?? design.sparseDecode)?.mode ?? "Disabled") === "Disabled"
        ? "disabled"
        : "enabled",
    ...sparseLimits(design),
    CSPS_KV_BYTES: kvBytes(design.kvCacheMemory),
    CSPS_DRAIN_GRACE_MS: String(drainGraceMs(design.rank.terminationGracePeriodSeconds)),
    CSPS_LOG_LEVEL: "info",
  };
  const fromPod: Record<keyof Pick<RankEnvironment, "CSPS_INCARNATION" | "CSPS_ADDRESS">, string> = {
    CSPS_INCARNATION: "metadata.uid",
    CSPS_ADDRESS: "status.podIP",
  };
  return [
    ...Object.entries(values).map(([name, value]) => ({ name, value })),
    ...Object.entries(fromPod).map(([name, fieldPath]) => ({ name, valueFrom: { fieldRef: { fieldPath } } })),
  ];
}

type SparseLimits = Pick<
  RankEnvironment,
  | "CSPS_SPARSE_MIN_TOKENS"
  | "CSPS_SPARSE_BUDGET_PERCENT"
  | "CSPS_SPARSE_QUALITY_FLOOR_PERCENT"
  | "CSPS_SPARSE_THRESHOLD_PERCENT"
>;

/** Empty, the engine's defaults, for what a gang's role has none of. */
function sparseLimits({ sparseAttention: prefill, sparseDecode: decode }: GangDesign): SparseLimits {
  return {
    CSPS_SPARSE_MIN_TOKENS: String((prefill ?? decode)?.minTokens ?? ""),
    CSPS_SPARSE_BUDGET_PERCENT: String(prefill?.budgetPercent ?? ""),
    CSPS_SPARSE_QUALITY_FLOOR_PERCENT: String(prefill?.qualityFloorPercent ?? ""),
    CSPS_SPARSE_THRESHOLD_PERCENT: String(decode?.thresholdPercent ?? ""),
  };
}

/** After this the process still has to close its connections before the kubelet kills it. */
const closingSeconds = 5;

function drainGraceMs(gracePeriodSeconds: number): number {
  return Math.max(0, gracePeriodSeconds - closingSeconds) * 1000;
}

/** Whole bytes of a quantity; empty, the engine's default, when there is none. */
function kvBytes(memory: string | undefined): string {
  const milli = memory === undefined ? undefined : parseQuantityMilli(memory);
  return milli === undefined ? "" : String(Math.ceil(milli / 1000));
}
