/**
 * What one pod takes from a node, as kube-scheduler counts it:
 *
 *   max( sum of containers + restartable init containers,
 *        each init container + the restartable ones started before it ) + overhead, and one of `pods`
 *
 * A limit without a request is a request.
 */
import { addAmounts, type Amounts, maxAmounts, parseAmounts } from "./quantity.ts";

type Quantities = Readonly<Record<string, string | number>>;

export interface ContainerView {
  readonly restartPolicy?: string;
  readonly resources?: { readonly requests?: Quantities; readonly limits?: Quantities };
}

export interface PodSpecView {
  readonly containers: readonly ContainerView[];
  readonly initContainers?: readonly ContainerView[];
  readonly overhead?: Quantities;
}

export function podRequest(spec: PodSpecView): Amounts {
  let running: Amounts = {};
  for (const container of spec.containers) running = addAmounts(running, containerRequest(container));
  let sidecars: Amounts = {};
  let starting: Amounts = {};
  for (const container of spec.initContainers ?? []) {
    const request = containerRequest(container);
    starting = maxAmounts(starting, addAmounts(sidecars, request));
    if (container.restartPolicy === "Always") sidecars = addAmounts(sidecars, request);
  }
  const peak = maxAmounts(addAmounts(running, sidecars), starting);
  return addAmounts(addAmounts(peak, parseAmounts(spec.overhead)), { pods: 1000 });
}

function containerRequest(container: ContainerView): Amounts {
  return { ...parseAmounts(container.resources?.limits), ...parseAmounts(container.resources?.requests) };
}
