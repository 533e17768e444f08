/** Objectives of a deployment, and the bounds within which its counts follow the load. */
import { z } from "zod";
import { objectName } from "./fields.ts";
import { rules, sentence } from "./rule.ts";

/** A minimum that always has a value, and a maximum that may be left to another field. */
function range(limits: { readonly least: number; readonly most: number; readonly otherwise: string }) {
  const { least, most, otherwise } = limits;
  return z
    .object({
      min: z.int().min(least).max(most).default(1).describe("Never fewer"),
      max: z.int().min(least).max(most).optional().describe(`Never more. Default: ${otherwise}`),
    })
    .meta(
      rules({
        rule: "!has(self.max) || self.min <= self.max",
        message: "min must be at most max",
        messageExpression: sentence("min is %d but must be at most max, which is %d", [
          "self.min",
          "self.max",
        ]),
        fieldPath: ".min",
      }),
    );
}

const ttftMs = z.int().min(10).max(3_600_000);

const lengthClass = z
  .object({
    name: z
      .string()
      .max(32)
      .regex(/^[a-z]([-a-z0-9]*[a-z0-9])?$/)
      .describe("Label of the class in metrics"),
    upToTokens: z
      .int()
      .min(1)
      .max(16777216)
      .describe(
        "Prompts of at most so many tokens that no shorter class takes; the last takes all longer ones",
      ),
    ttftMs: ttftMs.describe("Time to first token that 90 % of these prompts should keep, queue included"),
  })
  .describe("Prompts of like length");

export const slo = z
  .object({
    ttftMs: ttftMs
      .default(2_000)
      .describe(
        "Time to first token that 90 % of prompts should keep, queue included, where no class says otherwise",
      ),
    tbtMs: z
      .int()
      .min(1)
      .max(60_000)
      .default(100)
      .describe("Time between two tokens that 90 % of tokens should keep"),
    classes: z
      .array(lengthClass)
      .min(1)
      .max(8)
      .optional()
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] })
      .describe("Objectives by length of prompt, ascending. Default: one class for all prompts"),
  })
  .describe("What clients should see; the autoscaler plans for it")
  .meta(
    rules({
      rule: "!has(self.classes) || self.classes.map(one, one.upToTokens).isSorted()",
      message: "classes must be in ascending order of upToTokens",
      fieldPath: ".classes",
    }),
  );

const percentRange = z
  .object({
    min: z.int().min(0).max(1_000_000).default(0).describe("At least so many; 0: no bound"),
    max: z.int().min(1).max(1_000_000).default(1_000_000).describe("At most so many; 1000000: no bound"),
  })
  .describe("Prefill GPUs for each 100 decode GPUs")
  .meta(
    rules({
      rule: "self.min <= self.max",
      message: "min must be at most max",
      messageExpression: sentence("min is %d but must be at most max, which is %d", ["self.min", "self.max"]),
      fieldPath: ".min",
    }),
  );

export const scaleToZero = z
  .object({
    enabled: z.boolean().default(false).describe("Whether all ranks may be given back while nobody asks"),
    idleSeconds: z.int().min(1).max(604_800).default(600).describe("Without any request for so long"),
    wakeSeconds: z
      .int()
      .min(1)
      .max(3_600)
      .default(300)
      .describe("A request waits at most so long in the gateway for ranks to start"),
    maxWaiting: z
      .int()
      .min(1)
      .max(100_000)
      .default(256)
      .describe("Requests that one gateway pod keeps waiting; more are refused with 503"),
  })
  .describe("No ranks at all while nobody asks; the gateway keeps requests until they are back");

export const autoscaling = z
  .object({
    mode: z
      .enum(["Off", "Advise", "Enforce", "External"])
      .default("Off")
      .describe(
        "Off: counts are the spec's. Advise: decisions are told and not acted upon. Enforce: they are acted upon. External: the replicas of two RoleScalers are the counts, for an HPA or KEDA to set",
      ),
    groups: range({ least: 1, most: 1000, otherwise: "prefill.groups" })
      .prefault({})
      .describe("Bounds of the number of prefill groups"),
    decodeRanks: range({ least: 1, most: 4096, otherwise: "decode.ranks" })
      .prefault({})
      .describe("Bounds of the number of decode ranks"),
    degree: z
      .object({
        min: z.int().min(1).max(512).optional().describe("Default: prefill.sequenceParallel.degree"),
        max: z
          .int()
          .min(1)
          .max(512)
          .optional()
          .describe("Default: prefill.sequenceParallel.maxDegree, else its degree"),
      })
      .optional()
      .describe("Bounds of the ranks of one group; those that double from min to max are considered"),
    gpuBudget: z
      .int()
      .min(2)
      .max(100_000)
      .optional()
      .describe("GPUs of both roles together, at most. Default: what the other bounds add up to"),
    prefillToDecodePercent: percentRange.prefault({}),
    stabilizationSeconds: z
      .int()
      .min(0)
      .max(86_400)
      .default(300)
      .describe(
        "A smaller size must have been enough for so long; twice as long for half an hour after a reversal, unless load has a season",
      ),
    intervalSeconds: z.int().min(1).max(600).default(15).describe("Time between two decisions"),
    windowSeconds: z.int().min(2).max(3_600).default(300).describe("Demand is counted over so long"),
    queueDrainSeconds: z
      .int()
      .min(1)
      .max(3_600)
      .default(60)
      .describe("A queue is planned to be gone after so long"),
    maxSampleAgeSeconds: z
      .int()
      .min(1)
      .max(3_600)
      .default(45)
      .describe("Metrics older than this count as missing; missing metrics hold the present size"),
    scaleToZero: scaleToZero.prefault({}),
  })
  .describe("How the counts of ranks follow the load");

/** Written by whoever decides on counts; read by the reconciler of gangs. */
export const scale = z
  .object({
    groups: z.int().min(0).describe("Prefill groups"),
    degree: z.int().min(1).describe("Ranks of one prefill group"),
    decodeRanks: z.int().min(0).describe("Ranks of the decode pool"),
    degrees: z
      .array(
        z.object({
          name: z.string().describe("Length class"),
          upToTokens: z.int().min(1).describe("Its longest prompt"),
          degree: z.int().min(0).describe("SP degree to serve it with; 0: the group chooses"),
          attention: z
            .enum(["auto", "dense"])
            .optional()
            .describe("dense: exact, whatever the deployment allows. Default: auto"),
        }),
      )
      .optional()
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] })
      .describe("The degree table, by length class"),
  })
  .describe(
    "Counts in force while autoscaling.mode is Enforce or External; the spec's are then only the start",
  );

export const roleScalerSpec = z
  .object({
    deployment: objectName.describe("CSPSDeployment whose count it sets"),
    role: z.enum(["prefill", "decode"]).describe("prefill: its groups; decode: the ranks of its pool"),
    replicas: z.int().min(0).max(4096).default(1).describe("Wanted; kept within the bounds of autoscaling"),
  })
  .describe("One count of a deployment, for an HPA, KEDA or kubectl scale to set");

export const roleScalerStatus = z
  .object({
    replicas: z.int().optional().describe("Groups or ranks that there are now"),
    selector: z.string().optional().describe("Label selector of the role's pods, for the HPA"),
    message: z.string().optional().describe("Why the count in force differs from the wanted one"),
  })
  .describe("What there is");

export type Slo = z.infer<typeof slo>;
export type Autoscaling = z.infer<typeof autoscaling>;
export type Scale = z.infer<typeof scale>;
export type RoleScalerSpec = z.infer<typeof roleScalerSpec>;
export type RoleScalerStatus = z.infer<typeof roleScalerStatus>;
