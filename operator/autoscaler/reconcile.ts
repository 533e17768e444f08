/** One look at the load of a deployment, as sentences: look, decide, act, tell. */
import { cspsDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import type { ReconcileOutcome } from "../kube/controller.ts";
import { type CSPSDeployment, keyOf, ownedBy } from "../kube/object.ts";
import { sizeInForce } from "../planning/autoscaling/force.ts";
import { lengthClasses } from "../planning/autoscaling/policy.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";
import { gpusOf } from "../planning/scaling/fit.ts";
import { planScaling } from "../planning/scaling/plan.ts";
import { recordDecision } from "../planning/status/decisions.ts";
import { writeScale } from "../ranks/scale.ts";
import type { AutoscalerContext, DeploymentName } from "./context.ts";
import { scalingInput, type Subject } from "./input.ts";
import { publishDegrees } from "./publishDegrees.ts";
import { type Look, lookAt } from "./observe.ts";
import { scaleOf } from "./scale.ts";
import {
  type Acting,
  inputsOf,
  isHeld,
  newsOf,
  scalingCondition,
  scalingRecord,
  scalingSubject,
  tellingOf,
} from "./tell.ts";

/** While nothing runs, the first request must not wait for a whole interval. */
const asleepMs = 1_000;

export async function scaleDeployment(
  context: AutoscalerContext,
  deployment: CSPSDeployment,
  signal: AbortSignal,
): Promise<ReconcileOutcome | undefined> {
  const spec = cspsDeploymentSpec.safeParse(deployment.spec).data;
  // A spec that can't be read is the deployment's own reconciler's to tell.
  if (spec === undefined) return undefined;
  const { mode } = spec.autoscaling;
  if (mode === "Off" || mode === "External") {
    await stopScaling(context, deployment, mode);
    return undefined;
  }
  const memory = context.memories.of(deployment.metadata.uid, context.steadyMs());
  if (mode === "Advise") {
    memory.written = undefined;
    await clearScale(context, deployment);
  }
  const current = sizeInForce(spec, memory.written ?? deployment.status?.scale);
  const subject: Subject = { deployment, spec, memory, current };
  // 1 Look at gateways and ranks.
  const classes = lengthClasses(spec).map(({ name }) => name);
  const look = await lookAt(context, deployment, { spec, classes, signal });
  // 2 Decide.
  const decision = planScaling(scalingInput(context, subject, look));
  // 3 Act: what the next step relies on is written before it is told.
  memory.planner = decision.memory;
  if (mode === "Enforce") {
    const before = memory.written ?? deployment.status?.scale;
    const to = scaleOf(decision, before);
    await writeScale(context.cluster, deployment, { from: before, to });
    memory.written = to;
    await publishDegrees(context, deployment, {
      scale: to,
      intervalMs: spec.autoscaling.intervalSeconds * 1000,
    });
  }
  // 4 Tell.
  await tell(context, subject, { decision, look, mode });
  const asleep = decision.size.groups === 0 && decision.size.decodeRanks === 0;
  return { requeueAfterMs: asleep ? asleepMs : spec.autoscaling.intervalSeconds * 1000 };
}

/** Off: the spec's counts are in force again. External: RoleScalers decide, and write the scale themselves. */
async function stopScaling(
  context: AutoscalerContext,
  deployment: CSPSDeployment,
  mode: "Off" | "External",
): Promise<void> {
  const { uid } = deployment.metadata;
  const named = { uid, key: keyOf(deployment) };
  context.memories.forget(uid);
  context.meters.forget(nameOf(deployment));
  if (mode === "Off") {
    context.notes.drop(named);
    await clearScale(context, deployment);
    return;
  }
  const message = "the replicas of the RoleScalers are the counts";
  context.notes.put(named, {
    condition: { type: "AutoscalingActive", status: "True", reason: "External", message },
    decisions: decisionsSoFar(context, deployment),
  });
}

async function clearScale(context: AutoscalerContext, deployment: CSPSDeployment): Promise<void> {
  await writeScale(context.cluster, deployment, { from: deployment.status?.scale, to: undefined });
}

async function tell(
  context: AutoscalerContext,
  { deployment, memory }: Subject,
  at: { readonly decision: ScalingDecision; readonly look: Look; readonly mode: Acting },
): Promise<void> {
  const { decision, look, mode } = at;
  const { name, uid, namespace = "" } = deployment.metadata;
  const record = scalingRecord(decision, name, mode);
  meter(context, deployment, at);
  const news = newsOf(decision, mode);
  if (memory.toldNews === news) return;
  memory.toldNews = news;
  context.notes.put(
    { uid, key: keyOf(deployment) },
    {
      condition: scalingCondition(decision, mode, look.failures),
      decisions: recordDecision(decisionsSoFar(context, deployment), record),
    },
  );
  const { code } = tellingOf(decision);
  context.events.record({
    regarding: deployment,
    type: isHeld(decision) || code === "SLOInfeasible" ? "Warning" : "Normal",
    reason: code,
    action: mode === "Advise" ? "AdviseScale" : "Scale",
    note: [record.choice, ...inputsOf(decision.input)].join("; "),
  });
  const kept = { time: record.time, subject: record.subject, choice: record.choice, record: decision };
  const failure = await context.keeper.keep({ namespace, reference: ownedBy(deployment) }, "scaling", kept);
  if (failure === undefined) return;
  const refused = {
    regarding: deployment,
    type: "Warning",
    reason: "RecordNotKept",
    action: "Scale",
  } as const;
  context.events.record({ ...refused, note: failure });
}

/** Those that were told, by an earlier leader where this one told none yet. */
function decisionsSoFar({ notes }: AutoscalerContext, { metadata, status }: CSPSDeployment) {
  const subject = scalingSubject(metadata.name);
  const told = () => (status?.decisions ?? []).filter((one) => one.subject === subject);
  return notes.of(metadata.uid)?.decisions ?? told();
}

function meter(
  { meters }: AutoscalerContext,
  deployment: CSPSDeployment,
  { decision, mode }: { readonly decision: ScalingDecision; readonly mode: Acting },
): void {
  const { input, size, refusals } = decision;
  const ages = input.samples.map(({ atMs }) => (input.nowMs - atMs) / 1000);
  meters.decided(nameOf(deployment), {
    mode,
    reason: tellingOf(decision).code,
    refusals: refusals.map(({ code }) => code),
    wanted: { prefill: size.groups, decode: size.decodeRanks },
    gpus: gpusOf(input.cost, size),
    oldestSampleSeconds: Math.max(0, ...ages),
  });
}

export function nameOf({ metadata }: CSPSDeployment): DeploymentName {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}
