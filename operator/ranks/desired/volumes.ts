/** What a rank mounts: the model, the two secrets, and room to write. */
import type { GangDesign } from "../gang.ts";
import type { Pod } from "../../kube/object.ts";
import { scratchMount, scratchVolume, type Container } from "./security.ts";

type Volume = NonNullable<NonNullable<Pod["spec"]>["volumes"]>[number];
type Mount = NonNullable<Container["volumeMounts"]>[number];

const modelsPath = "/models";
export const controlTokenFile = "/etc/csps/control/token";
export const redisUrlFile = "/etc/csps/state/url";

export const modelMount: Mount = { name: "models", mountPath: modelsPath };

/** Folder of the model files inside the engine's container. */
export function modelFolder(source: GangDesign["model"]["source"]): string {
  const inside = source.persistentVolumeClaim?.path.replace(/^\/+|\/+$/g, "") ?? "";
  return inside === "" ? modelsPath : `${modelsPath}/${inside}`;
}

export function rankVolumes(design: GangDesign): Volume[] {
  return [modelVolume(design), ...secretVolumes(design), scratchVolume, ...sharedMemory(design)];
}

export function rankMounts(design: GangDesign): Mount[] {
  const shared = sharedMemory(design).map(({ name }) => ({ name, mountPath: "/dev/shm" }));
  return [{ ...modelMount, readOnly: true }, ...secretMounts, scratchMount, ...shared];
}

const stateItems = ["url", "ca.crt"].map((key) => ({ key, path: key }));

/** Secrets that ranks and gateways read the same way. */
export function secretVolumes(
  secrets: Pick<GangDesign, "controlTokenSecret" | "stateStoreSecret">,
): Volume[] {
  return [
    {
      name: "control",
      secret: { secretName: secrets.controlTokenSecret, items: [{ key: "token", path: "token" }] },
    },
    {
      name: "state",
      // Without the Redis URL a rank still serves, and not every Redis has an authority of its own.
      secret: { secretName: secrets.stateStoreSecret, items: stateItems, optional: true },
    },
  ];
}

export const secretMounts: Mount[] = [
  { name: "control", mountPath: "/etc/csps/control", readOnly: true },
  { name: "state", mountPath: "/etc/csps/state", readOnly: true },
];

function modelVolume(design: GangDesign): Volume {
  const claim = design.model.source.persistentVolumeClaim;
  if (claim === undefined) return { name: modelMount.name, emptyDir: {} };
  return { name: modelMount.name, persistentVolumeClaim: { claimName: claim.claimName, readOnly: true } };
}

/** NCCL moves data between the processes of one rank through /dev/shm, whose default of 64 MiB is too small. */
function sharedMemory(design: GangDesign): Volume[] {
  return design.engine.backend === "cuda" ? [{ name: "shm", emptyDir: { medium: "Memory" } }] : [];
}
