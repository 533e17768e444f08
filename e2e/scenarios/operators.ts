/** The operator's processes, and which of them leads. */
import { setTimeout as sleep } from "node:timers/promises";
import { demand, eventually } from "./eventually.ts";
import { isReady, leaseShape, listOf, type Pod, podShape } from "./objects.ts";
import { get, kubectl, world } from "./world.ts";

const MINUTE = 60_000;
const OPERATOR = ["-n", world.operatorNamespace, "-l", "app.kubernetes.io/component=operator"];
/** Between two renewals of the Lease, so that there is none while what follows is done. */
const AFTER_RENEWAL_MS = 1_000;

export async function operatorPods(): Promise<Pod[]> {
  return (await get(listOf(podShape), "pods", ...OPERATOR)).items;
}

/** Waits until there are so many, of which one leads. */
export async function operators(count: number): Promise<void> {
  await kubectl(["scale", "deployment", ...OPERATOR, `--replicas=${count}`]);
  await eventually(`${count} operators`, 8 * MINUTE, async () => {
    const now = await operatorPods();
    demand(now.length === count && now.every(isReady), `there are ${now.length}`);
  });
}

export interface Lead {
  /** Of the leading process; one that comes back in the same pod has another. */
  readonly identity: string;
  readonly pod: string;
  readonly renewTime: string;
}

export async function lead(): Promise<Lead> {
  const [lease] = (await get(listOf(leaseShape), "leases", "-n", world.operatorNamespace)).items;
  const { holderIdentity: identity = "", renewTime = "" } = lease?.spec ?? {};
  return { identity, pod: identity.split("_")[0] ?? "", renewTime };
}

/** Returns a moment after a renewal. */
export async function renewedLead(): Promise<Lead> {
  const before = await lead();
  const renewed = await eventually(
    "the leader to renew its Lease",
    4 * MINUTE,
    async () => {
      const now = await lead();
      demand(now.renewTime !== before.renewTime, `${before.pod} leads`);
      return now;
    },
    100,
  );
  await sleep(AFTER_RENEWAL_MS);
  return renewed;
}
