/**
 * The serving policies, each over the same number of ranks:
 *
 *   csps            ranks are split anew each second between prefill and decode; short prompts pass long ones, each at the
 *                   degree that is worth its ranks; long ones with sparse attention (CSA)
 *   csps-dense      the same without sparse attention
 *   fixed-split     groups prefill at the degree that the prompt's objective needs; one pool decodes, KV spread over it
 *   static-sp       the same, but every prompt takes a whole group
 *   disaggregated   single ranks prefill, single ranks decode, no sequence parallelism
 *   chunked         every rank does both, a chunk of a prompt beside the decoding requests
 *   elastic         one pool; what decoding does not need prefills, at the highest degree that is worth it (LoongServe)
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import { chooseDegree, degreeNow, type Ranks } from "../../planning/cost/degree.ts";
import { kvTokensOfRank, minimumDegree } from "../../planning/cost/memory.ts";
import { prefillSeconds, type CostProfile, type SparsePrefill } from "../../planning/cost/profile.ts";
import type { EventQueue } from "../eventQueue.ts";
import { DecodeSide, tokensOf } from "./decodeSide.ts";
import { FlexibleRanks } from "./flexible.ts";
import type { Job, Outcomes } from "./job.ts";
import { MixedReplicas } from "./mixed.ts";
import { PrefillPool, type Group, type PrefillPoolOptions } from "./prefillPool.ts";
import type { StepLoad } from "./stepBatch.ts";

export const servingPolicies = [
  "csps",
  "csps-dense",
  "fixed-split",
  "static-sp",
  "disaggregated",
  "chunked",
  "elastic",
] as const;
export type ServingPolicy = (typeof servingPolicies)[number];

export interface SystemShape {
  readonly cost: CostProfile;
  readonly ranks: number;
  /** Ranks of the roles, where roles are fixed. */
  readonly prefillRanks: number;
  readonly groupSize: number;
  /** Tokens of a prompt beside one step, for chunked. */
  readonly chunkTokens: number;
  readonly tbtSeconds: number;
}

/** What takes requests. */
export interface System {
  readonly add: (job: Job) => void;
}

/** Share of a rank's KV that reservations may fill. */
const kvShare = 0.95;
/** A fifth of the remote blocks, the end of the prompt exact: the setting of the design's worked values. */
const sparse: SparsePrefill = {
  selection: { kind: "blocks", budget: 0.2, blockTokens: 32, tailTokens: 128 },
  denseUpToTokens: 16_384,
};
/** Requests homed on one rank from which decoding takes another one, in the elastic system. */
const elasticBatch = 64;

export function buildSystem(
  policy: ServingPolicy,
  shape: SystemShape,
  events: EventQueue,
  outcomes: Outcomes,
): System {
  const { cost } = shape;
  const roomOfRank = kvTokensOfRank(cost) * kvShare;
  const decodeRanks = shape.ranks - shape.prefillRanks;
  switch (policy) {
    case "chunked": {
      const options = { cost, replicas: shape.ranks, stepTokens: shape.chunkTokens, room: roomOfRank };
      // Chunks keep activations small: only the KV has to fit.
      const holds = { tokens: roomOfRank, cost, degree: Infinity };
      return refusing(new MixedReplicas(events, outcomes, options), outcomes, holds);
    }
    case "disaggregated": {
      const place = { room: () => roomOfRank, stepSeconds: poolStep(cost, () => 1) };
      const places = Array.from({ length: decodeRanks }, () => place);
      const groups = Array.from({ length: shape.prefillRanks }, () => 1);
      return separate(shape, events, outcomes, { places, groups, degreeOf: () => 1, largest: roomOfRank });
    }
    case "csps":
    case "csps-dense": {
      const flexible = {
        ranks: shape.ranks,
        cost: policy === "csps" ? { ...cost, sparse } : cost,
        tbtSeconds: shape.tbtSeconds,
      };
      const degree = 2 ** Math.floor(Math.log2(shape.ranks - 1));
      const holds = { tokens: roomOfRank * (shape.ranks - 1), cost, degree };
      return refusing(new FlexibleRanks(flexible, events, outcomes), outcomes, holds);
    }
    case "static-sp":
    case "fixed-split": {
      const room = roomOfRank * decodeRanks;
      const places = [{ room: () => room, stepSeconds: poolStep(cost, () => decodeRanks) }];
      const groups = Array.from(
        { length: Math.floor(shape.prefillRanks / shape.groupSize) },
        () => shape.groupSize,
      );
      const degreeOf = (
        job: Job,
        group: Readonly<Group>,
        waited: number,
        queued: number,
      ): number | undefined =>
        policy === "static-sp"
          ? group.size
          : degreeNow(cost, job.request.inputTokens, ranksOf(group, queued), job.ttftSeconds - waited);
      return separate(shape, events, outcomes, { places, groups, degreeOf, largest: room });
    }
    case "elastic":
      return elastic(shape, events, outcomes, roomOfRank);
  }
}

function poolStep(cost: CostProfile, ranks: () => number): (load: StepLoad) => number {
  return ({ requests, contextTokens }) =>
    decodeStep(cost.model, cost.hardware, {
      ranks: ranks(),
      tensorDegree: cost.tensorDegree,
      requests,
      contextTokens,
    }).seconds;
}

const ranksOf = ({ size, free }: Readonly<Group>, queued: number): Ranks => ({
  size,
  free,
  uncontended: queued <= 1,
});

interface Separate {
  readonly places: ConstructorParameters<typeof DecodeSide>[2];
  readonly groups: readonly number[];
  readonly degreeOf: PrefillPoolOptions["degreeOf"];
  /** Tokens of the largest request that fits at all. */
  readonly largest: number;
}

function separate(shape: SystemShape, events: EventQueue, outcomes: Outcomes, parts: Separate): System {
  const decode = new DecodeSide(events, outcomes, parts.places, () => {
    pool.dispatch();
  });
  const pool = new PrefillPool(events, parts.groups, {
    degreeOf: parts.degreeOf,
    secondsOf: (job, degree) => prefillSeconds(shape.cost, job.request.inputTokens, degree),
    admit: (job) => decode.reserve(job),
    done: (job) => {
      decode.start(job);
    },
  });
  const degree = Math.max(0, ...parts.groups);
  return refusing(pool, outcomes, { tokens: parts.largest, cost: shape.cost, degree });
}

function elastic(shape: SystemShape, events: EventQueue, outcomes: Outcomes, roomOfRank: number): System {
  const { cost, ranks } = shape;
  const busy = (): number => ranks - (pool.groups[0]?.free ?? ranks);
  /** Ranks that decode now: what memory and batch ask for, of those that do not prefill. */
  const decoding = (): number => {
    const wanted = Math.max(
      Math.ceil(decode.contextTokens / roomOfRank),
      Math.ceil(decode.requests / elasticBatch),
      1,
    );
    return Math.max(1, Math.min(wanted, ranks - busy()));
  };
  const place = { room: () => roomOfRank * ranks, stepSeconds: poolStep(cost, decoding) };
  const decode = new DecodeSide(events, outcomes, [place], () => {
    pool.dispatch();
  });
  const pool = new PrefillPool(events, [ranks], {
    degreeOf: (job, group) => {
      const idle = group.free - (decode.requests > 0 ? decoding() : 0);
      if (idle < 1) return undefined;
      return chooseDegree(cost, job.request.inputTokens, 2 ** Math.floor(Math.log2(idle)), 0)?.degree;
    },
    secondsOf: (job, degree) => prefillSeconds(cost, job.request.inputTokens, degree),
    admit: (job) => decode.reserve(job),
    done: (job) => {
      decode.start(job);
    },
  });
  return refusing(pool, outcomes, {
    tokens: roomOfRank * ranks,
    cost,
    degree: 2 ** Math.floor(Math.log2(ranks)),
  });
}

/** Requests that nothing of this system could ever hold are counted and go no further. */
function refusing(
  system: System,
  outcomes: Outcomes,
  holds: { readonly tokens: number; readonly cost: CostProfile; readonly degree: number },
): System {
  return {
    add(job) {
      const fits = (minimumDegree(holds.cost, job.request.inputTokens) ?? Infinity) <= holds.degree;
      if (fits && tokensOf(job) <= holds.tokens) system.add(job);
      else outcomes.refused += 1;
    },
  };
}
