/** The headless Service that resolves to every rank, ready or not: ranks must find each other to become ready. */
import type { Desired, Service } from "../../../kube/object.ts";
import {
  childName,
  controlPort,
  labelKey,
  ownLabels,
  rankComponent,
  transferPort,
} from "../../../ranks/names.ts";
import type { DeploymentDesign } from "./deploymentDesign.ts";

export function desiredRankService(design: DeploymentDesign): Desired<Service> {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: childName.ranksService(design.name),
      namespace: design.namespace,
      labels: ownLabels(design.name, "ranks"),
      ownerReferences: [design.owner],
    },
    spec: {
      clusterIP: "None",
      publishNotReadyAddresses: true,
      selector: { [labelKey.deployment]: design.name, [labelKey.component]: rankComponent },
      ports: [
        { name: "control", port: controlPort, protocol: "TCP" },
        { name: "transfer", port: transferPort, protocol: "TCP" },
      ],
    },
  };
}
