/** Carries out a plan on pods: removes, creates, and lifts gates. Every write is announced to the expectations. */
import { isAlreadyExists, isConflict, isInvalid, isNotFound } from "../kube/api-error.ts";
import { create, jsonPatch, type JsonPatchStep, remove } from "../kube/apply.ts";
import { keyOf, ownedBy, type Pod } from "../kube/object.ts";
import { pods } from "../kube/resource.ts";
import { type RankPod, rankIdOf } from "../planning/gang/observed.ts";
import type { Removal } from "../planning/gang/removal.ts";
import type { GangContext } from "./context.ts";
import { desiredRankPod } from "./desired/rankPod.ts";
import { gangGate, nodeAnnotation } from "./names.ts";
import type { GangView } from "./gangView.ts";

export async function removePods(
  context: GangContext,
  { gang, design }: GangView,
  removals: readonly Removal[],
): Promise<void> {
  const { uid: owner } = gang.metadata;
  context.expectations.expectDeletions(
    owner,
    removals.map((removal) => removal.uid),
  );
  await Promise.all(
    removals.map(async (removal) => {
      try {
        const grace = removal.force ? { gracePeriodSeconds: 0 } : {};
        const target = { metadata: { namespace: design.namespace, name: removal.rankId } };
        await remove(context.cluster, pods, target, { uid: removal.uid, ...grace });
        // A pod that was already being deleted gives no further sign until it is gone: do not wait for one.
        if (removal.force) context.expectations.deletionObserved(owner, removal.uid);
      } catch (error) {
        context.expectations.deletionObserved(owner, removal.uid);
        // Another pod has the name already: this one is gone.
        if (!isConflict(error)) throw error;
      }
    }),
  );
}

export async function createPods(
  context: GangContext,
  { gang, design }: GangView,
  ordinals: readonly number[],
): Promise<void> {
  const { uid: owner } = gang.metadata;
  const reference = ownedBy(gang);
  context.expectations.expectCreations(
    owner,
    ordinals.map((ordinal) => rankIdOf(design.name, ordinal)),
  );
  await Promise.all(
    ordinals.map(async (ordinal) => {
      try {
        await create(context.cluster, pods, desiredRankPod({ design, ordinal, owner: reference }));
      } catch (error) {
        context.expectations.creationObserved(owner, rankIdOf(design.name, ordinal));
        // The cache lags behind a predecessor's deletion or another leader's creation; the next look will show it.
        if (!isAlreadyExists(error)) throw error;
      }
    }),
  );
}

export interface Lift {
  readonly pod: RankPod;
  readonly node: string;
}

/** Pins each pod to its node, which the ledger holds for it, and lifts the gate, in one patch that holds for this very pod only. */
export async function liftGates(context: GangContext, view: GangView, lifts: readonly Lift[]): Promise<void> {
  await Promise.all(
    lifts.map(async ({ pod, node }) => {
      try {
        const target = { metadata: { namespace: view.design.namespace, name: pod.rankId } };
        const cached = context.pods.get(keyOf(target));
        await jsonPatch<Pod>(context.cluster, pods, target, liftSteps(cached, { pod, node }));
      } catch (error) {
        context.ledger.forget(pod.uid);
        // The pod was deleted or lifted meanwhile; what there is now is planned anew.
        if (!isNotFound(error) && !isInvalid(error) && !isConflict(error)) throw error;
      }
    }),
  );
}

function liftSteps(cached: Pod | undefined, { pod, node }: Lift): readonly JsonPatchStep[] {
  const gates = cached?.spec?.schedulingGates ?? [{ name: gangGate }];
  const gate = `/spec/schedulingGates/${String(gates.findIndex(({ name }) => name === gangGate))}`;
  // By the node's name as a field, not by its hostname label, which may differ.
  const term = { matchFields: [{ key: "metadata.name", operator: "In", values: [node] }] };
  const nodeAffinity = {
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] },
  };
  return [
    { op: "test", path: "/metadata/uid", value: pod.uid },
    { op: "test", path: `${gate}/name`, value: gangGate },
    { op: "add", path: `/metadata/annotations/${nodeAnnotation.replace("/", "~1")}`, value: node },
    { op: "add", path: "/spec/affinity", value: { nodeAffinity } },
    { op: "remove", path: gate },
  ];
}
