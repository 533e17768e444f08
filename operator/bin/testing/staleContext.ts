/** The context of a gang's reconciler whose caches never show anything. */
import type { Cluster } from "../../kube/cluster.ts";
import { Expectations } from "../../kube/expectations.ts";
import type { SPGroup } from "../../kube/object.ts";
import { Store } from "../../kube/store.ts";
import { defaultGangPolicy } from "../../planning/gang/plan.ts";
import { PlacementLedger } from "../../ranks/capacity.ts";
import { type GangContext, podIndex } from "../../ranks/context.ts";
import { RankClients } from "../../ranks/engines.ts";
import { prefillDesign } from "../../ranks/gang.ts";
import type { GangView } from "../../ranks/gangView.ts";
import { GangRecords } from "../../ranks/record.ts";

export function staleContext(cluster: Cluster): GangContext {
  const none = (): readonly string[] => [];
  return {
    cluster,
    events: { record: () => undefined },
    expectations: new Expectations(),
    pods: new Store({ [podIndex.owner]: none, [podIndex.deployment]: none, [podIndex.node]: none }),
    nodes: new Store(),
    ledger: new PlacementLedger(Date.now),
    rankClients: new RankClients(() => Promise.resolve(""), Date.now),
    records: new GangRecords(),
    keepPlacement: () => Promise.resolve(),
    policy: defaultGangPolicy,
    fence: () => 1,
    nowMs: Date.now,
  };
}

export function staleView(context: GangContext, gang: SPGroup): GangView {
  const record = context.records.of(gang.metadata.uid, gang.spec.revision, gang.status);
  return { gang, design: prefillDesign(gang), record };
}
