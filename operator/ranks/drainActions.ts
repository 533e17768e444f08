/** Acts on ranks that leave: asks what their emptying costs, marks their pods, tells their engines to take no more. */
import type { RankClient } from "../../runtime/wire/rankClient.ts";
import { isConflict, isInvalid, isNotFound } from "../kube/api-error.ts";
import { jsonPatch } from "../kube/apply.ts";
import type { Pod } from "../kube/object.ts";
import { pods } from "../kube/resource.ts";
import type { GangObservation, RankPod } from "../planning/gang/observed.ts";
import type { GangPlan } from "../planning/gang/plan.ts";
import { podRuns } from "../planning/gang/roster.ts";
import { emptyingBytes } from "../planning/rebalance/emptying.ts";
import type { GangContext } from "./context.ts";
import { drainAnnotation, drainMarkText } from "./drainMark.ts";
import { rankRef } from "./engines.ts";
import type { GangView } from "./gangView.ts";
import { poolSnapshot } from "./poolSnapshot.ts";

const askDeadlineMs = 2_000;
const drainDeadlineMs = 5_000;

/** Bytes by rankId; none when the pool's coordinator does not answer. */
export async function askEmptying(
  client: RankClient,
  ranks: readonly RankPod[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const asked = ranks.find((pod) => podRuns(pod) && pod.deletingForMs === undefined);
  if (asked === undefined) return new Map();
  try {
    const inventory = await client.inventory(rankRef(asked), { deadlineMs: askDeadlineMs, signal });
    return emptyingBytes(poolSnapshot(inventory, { admits: () => true, ordered: [] }));
  } catch {
    // The rank with the fewest pages will do.
    return new Map();
  }
}

/** The mark stands before anything else is done, so that every later leader goes on with the same rank. */
export async function markLeavers(
  context: GangContext,
  { design }: GangView,
  { plan, observed }: { readonly plan: GangPlan; readonly observed: GangObservation },
): Promise<void> {
  const since = new Date(observed.nowMs).toISOString();
  const path = `/metadata/annotations/${drainAnnotation.replace("/", "~1")}`;
  await Promise.all(
    plan.mark.map(async ({ pod, cause }) => {
      const held = observed.engines.get(pod.rankId)?.heldPages;
      const value = drainMarkText({ cause, since, ...(held === undefined ? {} : { pages: held }) });
      try {
        await jsonPatch<Pod>(
          context.cluster,
          pods,
          { metadata: { namespace: design.namespace, name: pod.rankId } },
          [
            { op: "test", path: "/metadata/uid", value: pod.uid },
            { op: "add", path, value },
          ],
        );
      } catch (error) {
        // The pod went away meanwhile; what there is now is planned anew.
        if (!isNotFound(error) && !isInvalid(error) && !isConflict(error)) throw error;
      }
    }),
  );
}

/** Sentences of the engines that could not be told; they are told again at the next look. */
export async function stopAdmission(
  context: GangContext,
  { design }: GangView,
  step: { readonly plan: GangPlan; readonly observed: GangObservation; readonly signal: AbortSignal },
): Promise<readonly string[]> {
  const { plan, observed, signal } = step;
  const stopping = new Set(
    plan.drains.filter((drain) => drain.phase === "StopAdmission").map((drain) => drain.uid),
  );
  if (stopping.size === 0) return [];
  const client = await context.rankClients.of(design.namespace, design.controlTokenSecret);
  const outcomes = await Promise.all(
    observed.pods
      .filter((pod) => stopping.has(pod.uid) && podRuns(pod))
      .map(async (pod) => {
        try {
          await client.drain(rankRef(pod), { deadlineMs: drainDeadlineMs, signal });
          return undefined;
        } catch (error) {
          return `${pod.rankId}: ${error instanceof Error ? error.message : String(error)}`;
        }
      }),
  );
  return outcomes.filter((one) => one !== undefined);
}
