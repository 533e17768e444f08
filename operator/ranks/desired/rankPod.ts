/** The pod of one rank: it is made gated, and pinned to a node when its gang has a place. */
import type { Desired, OwnerReference, Pod } from "../../kube/object.ts";
import { rankIdOf } from "../../planning/gang/observed.ts";
import { lostNodeTolerations } from "./lostNode.ts";
import type { GangDesign } from "../gang.ts";
import {
  childName,
  controlPort,
  gangGate,
  labelKey,
  nodeAnnotation,
  podLabels,
  transferPort,
} from "../names.ts";
import { engineResources } from "./engineResources.ts";
import { rankVariables } from "./environment.ts";
import { type Container, restrictedContainer, restrictedPod } from "./security.ts";
import { threadVariables } from "./threads.ts";
import { modelMount, rankMounts, rankVolumes } from "./volumes.ts";

export interface RankPodRequest {
  readonly design: GangDesign;
  readonly ordinal: number;
  readonly owner: OwnerReference;
}

type PodSpec = NonNullable<Pod["spec"]>;
type Probe = NonNullable<Container["readinessProbe"]>;
type Tolerations = NonNullable<PodSpec["tolerations"]>;

export function desiredRankPod(request: RankPodRequest): Desired<Pod> {
  const { design, ordinal, owner } = request;
  const name = rankIdOf(design.name, ordinal);
  const { nodeSelector, priorityClassName, terminationGracePeriodSeconds } = design.rank;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: design.namespace,
      labels: {
        ...podLabels(design.deployment, design.role),
        [labelKey.group]: design.name,
        [labelKey.rankOrdinal]: String(ordinal),
        [labelKey.revision]: design.revision,
      },
      annotations: { [nodeAnnotation]: "" },
      ownerReferences: [owner],
    },
    spec: {
      ...restrictedPod,
      // One process life is one incarnation: a rank that ends is replaced by a new pod, never restarted in place.
      restartPolicy: "Never",
      hostname: name,
      subdomain: childName.ranksService(design.deployment),
      terminationGracePeriodSeconds,
      tolerations: rankTolerations(design),
      ...(nodeSelector === undefined ? {} : { nodeSelector }),
      ...(priorityClassName === undefined ? {} : { priorityClassName }),
      schedulingGates: [{ name: gangGate }],
      initContainers: modelContainers(design),
      containers: [engineContainer(design, name)],
      volumes: rankVolumes(design),
    },
  };
}

export function rankTolerations(design: GangDesign): Tolerations {
  return [...present(design.rank.tolerations ?? []), ...lostNodeTolerations];
}

/** The same tolerations without fields that are named but undefined. */
function present(tolerations: NonNullable<GangDesign["rank"]["tolerations"]>): Tolerations {
  return tolerations.map(
    (one) =>
      Object.fromEntries(
        Object.entries(one).filter(([, value]) => value !== undefined),
      ) as Tolerations[number],
  );
}

function modelContainers(design: GangDesign): Container[] {
  const image = design.model.source.image;
  if (image === undefined) return [];
  return [
    {
      ...restrictedContainer,
      name: "model",
      image: image.reference,
      imagePullPolicy: image.pullPolicy,
      command: ["cp", "-rL", `${image.path.replace(/\/+$/, "")}/.`, `${modelMount.mountPath}/`],
      volumeMounts: [modelMount],
    },
  ];
}

function engineContainer(design: GangDesign, rankId: string): Container {
  return {
    ...restrictedContainer,
    name: "engine",
    ...(design.engine.image === undefined ? {} : { image: design.engine.image }),
    imagePullPolicy: design.engine.imagePullPolicy,
    env: [...rankVariables(design, rankId), ...threadVariables(design)],
    ports: [
      { name: "control", containerPort: controlPort, protocol: "TCP" },
      { name: "transfer", containerPort: transferPort, protocol: "TCP" },
    ],
    resources: engineResources(design),
    volumeMounts: rankMounts(design),
    // A large model loads for minutes; the server answers /healthz meanwhile, so this only bounds its start.
    startupProbe: probe("/healthz", { periodSeconds: 2, failureThreshold: 150 }),
    readinessProbe: probe("/readyz", { periodSeconds: 2, failureThreshold: 3 }),
    // Two minutes of silence: a machine that is merely busy must never have its ranks killed.
    livenessProbe: probe("/healthz", { periodSeconds: 10, failureThreshold: 12 }),
  };
}

function probe(path: string, timing: { periodSeconds: number; failureThreshold: number }): Probe {
  return { httpGet: { path, port: "control" }, timeoutSeconds: 5, ...timing };
}
