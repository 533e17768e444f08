/** Which changes of pods and nodes wake which gang, and what they tell the expectations and the ledger. */
import type { Informer } from "../kube/informer.ts";
import { controllerOf, type Node, type Pod } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import type { WorkQueue } from "../kube/workqueue.ts";
import { nodeIsReady } from "../planning/topology/snapshot.ts";
import { type GangContext, podIndex } from "./context.ts";
import type { GangObject } from "./gang.ts";
import { isOver, nodeOf } from "./podView.ts";

export interface WakeSources {
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
  readonly gangs: Pick<Store<GangObject>, "list">;
  readonly kind: string;
  readonly queue: WorkQueue;
}

/** Room may appear in bursts, as when a group is deleted: one look after the burst is enough. */
const roomDelayMs = 300;

export function wakeGangs(context: Pick<GangContext, "expectations" | "ledger">, sources: WakeSources): void {
  const { pods, nodes, gangs, kind, queue } = sources;
  const wakeOwner = (pod: Pod): void => {
    const owner = controllerOf(pod);
    if (owner?.kind === kind) queue.add(`${pod.metadata.namespace ?? ""}/${owner.name}`);
  };
  const wakeWaiting = (): void => {
    for (const gang of gangs.list()) if (waitsForRoom(gang)) queue.addAfter(keyOfGang(gang), roomDelayMs);
  };
  pods.handle({
    added: (pod) => {
      const owner = controllerOf(pod);
      if (owner !== undefined) context.expectations.creationObserved(owner.uid, pod.metadata.name);
      wakeOwner(pod);
    },
    updated: (before, pod) => {
      const owner = controllerOf(pod);
      if (owner !== undefined && pod.metadata.deletionTimestamp !== undefined) {
        context.expectations.deletionObserved(owner.uid, pod.metadata.uid);
      }
      if (nodeOf(pod) !== undefined) context.ledger.forget(pod.metadata.uid);
      wakeOwner(pod);
      if (isOver(pod) && !isOver(before)) wakeWaiting();
    },
    removed: (pod) => {
      const owner = controllerOf(pod);
      if (owner !== undefined) context.expectations.deletionObserved(owner.uid, pod.metadata.uid);
      context.ledger.forget(pod.metadata.uid);
      wakeOwner(pod);
      wakeWaiting();
    },
  });
  nodes.handle({
    added: wakeWaiting,
    updated: (before, node) => {
      if (roomOf(before) !== roomOf(node)) wakeWaiting();
      const cordoned = (one: Node): boolean => one.spec?.unschedulable === true;
      if (nodeIsReady(before) === nodeIsReady(node) && cordoned(before) === cordoned(node)) return;
      for (const pod of pods.store.byIndex(podIndex.node, node.metadata.name)) wakeOwner(pod);
    },
    removed: (node) => {
      for (const pod of pods.store.byIndex(podIndex.node, node.metadata.name)) wakeOwner(pod);
    },
  });
}

function waitsForRoom(gang: GangObject): boolean {
  return (
    gang.status?.conditions?.some((one) => one.type === "TopologySatisfied" && one.status === "False") ??
    false
  );
}

function keyOfGang(gang: GangObject): string {
  return `${gang.metadata.namespace ?? ""}/${gang.metadata.name}`;
}

/** Everything of a node that placement reads; its heartbeats change none of it. */
function roomOf(node: Node): string {
  const { labels } = node.metadata;
  return JSON.stringify([labels, node.spec, node.status?.allocatable, nodeIsReady(node)]);
}
