/** Tells a user why the API server refuses what the operator tries to make for an object of theirs. */
import { isForbidden, isInvalid } from "../kube/api-error.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { KubeObject } from "../kube/object.ts";

/** Runs a reconcile; a refusal that only a person can lift, such as a quota, becomes an Event. Rethrows. */
export async function tellingRefusals<T>(
  events: Pick<EventRecorder, "record">,
  regarding: KubeObject,
  reconcile: () => Promise<T>,
): Promise<T> {
  try {
    return await reconcile();
  } catch (error) {
    if (error instanceof Error && (isForbidden(error) || isInvalid(error))) {
      events.record({
        regarding,
        type: "Warning",
        reason: "Refused",
        action: "Reconcile",
        note: error.message,
      });
    }
    throw error;
  }
}
