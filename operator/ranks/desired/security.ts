/** What every container and pod of the project runs as: the `restricted` Pod Security Standard. */
import type { Pod } from "../../kube/object.ts";

type PodSpec = NonNullable<Pod["spec"]>;
export type Container = PodSpec["containers"][number];

export const userId = 65532;

export const restrictedPod = {
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  securityContext: {
    runAsNonRoot: true,
    runAsUser: userId,
    runAsGroup: userId,
    fsGroup: userId,
    seccompProfile: { type: "RuntimeDefault" },
  },
} satisfies Partial<PodSpec>;

export const restrictedContainer = {
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  },
} satisfies Partial<Container>;

/** The writable corner of a read-only container. */
export const scratchVolume = { name: "tmp", emptyDir: {} };
export const scratchMount = { name: "tmp", mountPath: "/tmp" };
