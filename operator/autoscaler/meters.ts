/** Connects what the autoscaler tells to the operator's metrics. */
import type { Metrics } from "../observability/metrics.ts";
import type { DeploymentName, ScalingMeters } from "./context.ts";

export function scalingMeters(metrics: Metrics): ScalingMeters {
  const states = new Map<string, { readonly mode: string; readonly reason: string }>();
  const keyOf = ({ namespace, name }: DeploymentName): string => `${namespace}/${name}`;
  const clearState = (deployment: DeploymentName): void => {
    const state = states.get(keyOf(deployment));
    if (state !== undefined) metrics.scalingState.remove({ ...deployment, ...state });
    states.delete(keyOf(deployment));
  };
  return {
    decided(deployment, { mode, reason, refusals, wanted, gpus, oldestSampleSeconds }) {
      clearState(deployment);
      states.set(keyOf(deployment), { mode, reason });
      metrics.scalingState.set({ ...deployment, mode, reason }, 1);
      for (const code of refusals) metrics.scalingRefusals.inc({ ...deployment, code });
      for (const role of ["prefill", "decode"] as const)
        metrics.scalingWanted.set({ ...deployment, role }, wanted[role]);
      metrics.scalingGpus.set({ ...deployment }, gpus);
      metrics.scalingSampleAge.set({ ...deployment }, oldestSampleSeconds);
    },
    forget(deployment) {
      clearState(deployment);
      for (const role of ["prefill", "decode"]) metrics.scalingWanted.remove({ ...deployment, role });
      metrics.scalingGpus.remove({ ...deployment });
      metrics.scalingSampleAge.remove({ ...deployment });
    },
  };
}
