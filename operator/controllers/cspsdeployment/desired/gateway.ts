/** The gateway: ServiceAccount, Deployment, Service, and a disruption budget when there are several replicas. */
import type { GatewayEnvironment } from "../../../../runtime/wire/schema/environment.ts";
import type { Deployment, Desired, KubeObject, Service } from "../../../kube/object.ts";
import { childName, controlPort, gatewayPort, ownLabels, podLabels } from "../../../ranks/names.ts";
import { lostNodeTolerations } from "../../../ranks/desired/lostNode.ts";
import {
  restrictedContainer,
  restrictedPod,
  scratchMount,
  scratchVolume,
} from "../../../ranks/desired/security.ts";
import {
  controlTokenFile,
  redisUrlFile,
  secretMounts,
  secretVolumes,
} from "../../../ranks/desired/volumes.ts";
import { objectiveClasses } from "../../../planning/autoscaling/policy.ts";
import type { DeploymentDesign } from "./deploymentDesign.ts";
import { containerResources } from "./containerResources.ts";
import type { DisruptionBudget, ServiceAccount } from "./otherKinds.ts";

const apiKeysFolder = "/etc/csps/api-keys";

export function desiredGateway(design: DeploymentDesign): Desired<KubeObject>[] {
  const { replicas } = design.spec.gateway;
  return [account(design), workload(design), service(design), ...(replicas > 1 ? [budget(design)] : [])];
}

function meta(design: DeploymentDesign): Desired<KubeObject>["metadata"] {
  return {
    name: childName.gateway(design.name),
    namespace: design.namespace,
    labels: ownLabels(design.name, "gateway"),
    ownerReferences: [design.owner],
  };
}

function account(design: DeploymentDesign): Desired<ServiceAccount> {
  return {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: meta(design),
    automountServiceAccountToken: false,
  };
}

function workload(design: DeploymentDesign): Desired<Deployment> {
  const { gateway } = design.spec;
  const labels = podLabels(design.name, "gateway");
  const keys = gateway.apiKeysSecret;
  const secrets = {
    controlTokenSecret: childName.controlToken(design.name),
    stateStoreSecret: childName.state(design.name),
  };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: meta(design),
    spec: {
      replicas: gateway.replicas,
      selector: { matchLabels: labels },
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        metadata: { labels },
        spec: {
          ...restrictedPod,
          serviceAccountName: childName.gateway(design.name),
          tolerations: lostNodeTolerations,
          // Streams end within the gateway's own grace, 25 s, before they are cut.
          terminationGracePeriodSeconds: 40,
          containers: [
            {
              ...restrictedContainer,
              name: "gateway",
              image: design.gatewayImage,
              imagePullPolicy: gateway.imagePullPolicy,
              env: Object.entries(gatewayVariables(design)).map(([name, value]) => ({ name, value })),
              ports: [{ name: "http", containerPort: gatewayPort, protocol: "TCP" }],
              resources: containerResources(gateway.resources),
              volumeMounts: [
                ...secretMounts,
                scratchMount,
                ...(keys === undefined
                  ? []
                  : [{ name: "api-keys", mountPath: apiKeysFolder, readOnly: true }]),
              ],
              readinessProbe: {
                httpGet: { path: "/readyz", port: "http" },
                periodSeconds: 2,
                timeoutSeconds: 5,
              },
              livenessProbe: {
                httpGet: { path: "/healthz", port: "http" },
                initialDelaySeconds: 10,
                periodSeconds: 10,
                timeoutSeconds: 5,
                failureThreshold: 12,
              },
            },
          ],
          volumes: [
            ...secretVolumes(secrets),
            scratchVolume,
            ...(keys === undefined ? [] : [{ name: "api-keys", secret: { secretName: keys } }]),
          ],
        },
      },
    },
  };
}

function gatewayVariables(design: DeploymentDesign): GatewayEnvironment {
  const ranks = childName.ranksService(design.name);
  const { scaleToZero } = design.spec.autoscaling;
  return {
    CSPS_NAMESPACE: design.namespace,
    CSPS_DEPLOYMENT: design.name,
    CSPS_MODEL_NAME: design.spec.model.name,
    CSPS_PORT: String(gatewayPort),
    CSPS_RANKS_HOST: `${ranks}.${design.namespace}.svc`,
    CSPS_CONTROL_PORT: String(controlPort),
    CSPS_CONTROL_TOKEN_FILE: controlTokenFile,
    CSPS_REDIS_URL_FILE: redisUrlFile,
    CSPS_API_KEYS_DIR: design.spec.gateway.apiKeysSecret === undefined ? "" : apiKeysFolder,
    CSPS_LENGTH_CLASSES: objectiveClasses(design.spec)
      .map(({ name, upToTokens, ttftMs }) => [name, upToTokens, ttftMs].join(":"))
      .join(","),
    CSPS_WAKE_MS: String(scaleToZero.enabled ? scaleToZero.wakeSeconds * 1000 : 0),
    CSPS_WAKE_MAX_WAITING: String(scaleToZero.maxWaiting),
    CSPS_LOG_LEVEL: "info",
  };
}

function service(design: DeploymentDesign): Desired<Service> {
  const { port, serviceType } = design.spec.gateway;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: meta(design),
    spec: {
      type: serviceType,
      selector: podLabels(design.name, "gateway"),
      ports: [{ name: "http", port, targetPort: "http", protocol: "TCP" }],
    },
  };
}

function budget(design: DeploymentDesign): Desired<DisruptionBudget> {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: meta(design),
    spec: { maxUnavailable: 1, selector: { matchLabels: podLabels(design.name, "gateway") } },
  };
}

/** Where clients inside the cluster find the API. */
export function gatewayEndpoint(design: DeploymentDesign): string {
  const host = `${childName.gateway(design.name)}.${design.namespace}.svc`;
  return `http://${host}:${String(design.spec.gateway.port)}/v1`;
}
