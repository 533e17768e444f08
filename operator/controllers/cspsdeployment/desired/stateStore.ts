/** The bundled Redis: one replica, a password, no disk. */
import type { Desired, KubeObject, Service, StatefulSet } from "../../../kube/object.ts";
import { childName, ownLabels, podLabels, redisPort } from "../../../ranks/names.ts";
import { lostNodeTolerations } from "../../../ranks/desired/lostNode.ts";
import {
  restrictedContainer,
  restrictedPod,
  scratchMount,
  scratchVolume,
} from "../../../ranks/desired/security.ts";
import { containerResources } from "./containerResources.ts";
import type { DeploymentDesign } from "./deploymentDesign.ts";

export function desiredStateStore(design: DeploymentDesign): Desired<KubeObject>[] {
  return design.spec.stateStore.mode === "Bundled" ? [workload(design), service(design)] : [];
}

function meta(design: DeploymentDesign): Desired<KubeObject>["metadata"] {
  return {
    name: childName.state(design.name),
    namespace: design.namespace,
    labels: ownLabels(design.name, "state"),
    ownerReferences: [design.owner],
  };
}

function workload(design: DeploymentDesign): Desired<StatefulSet> {
  const labels = podLabels(design.name, "state");
  return {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: meta(design),
    spec: {
      replicas: 1,
      serviceName: childName.state(design.name),
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          ...restrictedPod,
          tolerations: lostNodeTolerations,
          containers: [
            {
              ...restrictedContainer,
              name: "redis",
              image: design.redisImage,
              command: ["redis-server", "/etc/redis/redis.conf"],
              ports: [{ name: "redis", containerPort: redisPort, protocol: "TCP" }],
              resources: containerResources(design.spec.stateStore.resources),
              volumeMounts: [{ name: "config", mountPath: "/etc/redis", readOnly: true }, scratchMount],
              readinessProbe: { tcpSocket: { port: "redis" }, periodSeconds: 2, timeoutSeconds: 5 },
              livenessProbe: {
                tcpSocket: { port: "redis" },
                periodSeconds: 10,
                timeoutSeconds: 5,
                failureThreshold: 12,
              },
            },
          ],
          volumes: [
            {
              name: "config",
              secret: {
                secretName: childName.state(design.name),
                items: [{ key: "redis.conf", path: "redis.conf" }],
              },
            },
            scratchVolume,
          ],
        },
      },
    },
  };
}

function service(design: DeploymentDesign): Desired<Service> {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: meta(design),
    spec: {
      selector: podLabels(design.name, "state"),
      ports: [{ name: "redis", port: redisPort, targetPort: "redis", protocol: "TCP" }],
    },
  };
}
