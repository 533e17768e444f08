/** Writes the full records of decisions into the ConfigMap of their deployment, and reads them. */
import { apply, get } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import type { ConfigMap, OwnerReference } from "../kube/object.ts";
import { configMaps } from "../kube/resource.ts";
import {
  defaultRecordLimits,
  keepRecord,
  type KeptRecord,
  parseRecords,
  type RecordKind,
  type RecordLimits,
  recordsKey,
  recordsName,
  renderRecords,
} from "../planning/status/records.ts";
import { ownLabels } from "../ranks/names.ts";

const deadlineMs = 5_000;

/** The CSPSDeployment that a record is about; its ConfigMap goes when it does. */
export interface RecordsOwner {
  readonly namespace: string;
  readonly reference: OwnerReference;
}

/**
 * One for each process that decides. Each kind of record has a field manager of its own, so that the writers of two
 * kinds share the ConfigMap without a conflict. One writer for each kind and deployment: the leader.
 */
export class RecordKeeper {
  readonly #cluster: Cluster;
  readonly #limits: RecordLimits;
  /** By kind and the owner's uid; what an earlier leader kept is read once. */
  readonly #kept = new Map<string, readonly KeptRecord[]>();

  constructor(cluster: Cluster, limits: RecordLimits = defaultRecordLimits) {
    this.#cluster = cluster;
    this.#limits = limits;
  }

  /** Never throws: a decision stands whether or not it is remembered. A sentence when it is not. */
  async keep(owner: RecordsOwner, kind: RecordKind, record: KeptRecord): Promise<string | undefined> {
    const { namespace, reference } = owner;
    const key = `${kind}/${reference.uid}`;
    try {
      const found = this.#kept.get(key) ?? (await readRecords(this.#cluster, owner, kind));
      // Another record may have come meanwhile.
      const earlier = this.#kept.get(key) ?? found;
      const kept = keepRecord(earlier, record, this.#limits);
      this.#kept.set(key, kept);
      const metadata = {
        name: recordsName(reference.name),
        namespace,
        labels: ownLabels(reference.name, "decisions"),
        ownerReferences: [reference],
      };
      await apply<ConfigMap>(
        this.#cluster,
        configMaps,
        { metadata, data: { [recordsKey(kind)]: renderRecords(kept) } },
        { fieldManager: `csps-operator-${kind}-records`, timeoutMs: deadlineMs },
      );
      return undefined;
    } catch (error) {
      return `the record of ${record.subject} was not kept: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  /** The deployment is gone. */
  forget(ownerUid: string): void {
    for (const key of [...this.#kept.keys()]) if (key.endsWith(`/${ownerUid}`)) this.#kept.delete(key);
  }
}

/** Newest first; none when nothing was kept yet. Throws ApiError. */
export async function readRecords(
  cluster: Cluster,
  { namespace, reference }: { readonly namespace: string; readonly reference: { readonly name: string } },
  kind: RecordKind,
): Promise<readonly KeptRecord[]> {
  const target = { metadata: { namespace, name: recordsName(reference.name) } };
  const found = await get(cluster, configMaps, target, { timeoutMs: deadlineMs });
  return parseRecords(found?.data?.[recordsKey(kind)] ?? "");
}
