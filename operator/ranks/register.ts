/** Makes the controller of one kind of gang. */
import { Controller } from "../kube/controller.ts";
import type { Informer } from "../kube/informer.ts";
import { keyOf, type Node, type Pod } from "../kube/object.ts";
import type { Telemetry } from "../kube/telemetry.ts";
import { WorkQueue } from "../kube/workqueue.ts";
import type { GangContext } from "./context.ts";
import type { GangDesign, GangObject } from "./gang.ts";
import { reconcileGang } from "./reconcileGang.ts";
import { tellingRefusals } from "./tellingRefusals.ts";
import { wakeGangs } from "./wake.ts";

export interface GangKind<T extends GangObject> {
  readonly name: string;
  readonly kind: string;
  readonly gangs: Informer<T>;
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
  designOf(gang: T): GangDesign;
}

export function registerGangs<T extends GangObject>(
  context: GangContext,
  kind: GangKind<T>,
  telemetry: Telemetry,
): Controller {
  const queue = new WorkQueue({ name: kind.name, telemetry });
  const { gangs, pods, nodes } = kind;
  gangs.handle({
    added: (gang) => {
      queue.add(keyOf(gang));
    },
    updated: (before, gang) => {
      if (before.metadata.generation !== gang.metadata.generation) queue.add(keyOf(gang));
    },
    removed: (gang) => {
      context.records.forget(gang.metadata.uid);
      context.expectations.forget(gang.metadata.uid);
    },
  });
  wakeGangs(context, { pods, nodes, gangs: gangs.store, kind: kind.kind, queue });
  return new Controller({
    name: kind.name,
    queue,
    telemetry,
    concurrency: 4,
    reconcile: async (key, signal) => {
      const gang = gangs.store.get(key);
      // The pods of a gang that is going away are the garbage collector's.
      if (gang === undefined || gang.metadata.deletionTimestamp !== undefined) return undefined;
      const record = context.records.of(gang.metadata.uid, gang.spec.revision, gang.status);
      const view = { gang, design: kind.designOf(gang), record };
      return tellingRefusals(context.events, gang, () => reconcileGang(context, view, signal));
    },
  });
}
