/** The kubelets of all nodes, played by the test: bound pods get an address, run, become Ready, and end. */
import { isConflict, isNotFound } from "../../kube/api-error.ts";
import { get, mergePatch, remove } from "../../kube/apply.ts";
import type { Cluster } from "../../kube/cluster.ts";
import { Informer } from "../../kube/informer.ts";
import { keyOf, type Pod } from "../../kube/object.ts";
import { pods, secrets } from "../../kube/resource.ts";
import { labelKey } from "../../ranks/names.ts";
import { FakeGateway } from "./fakeGateway.ts";
import { FakeRank, formEpoch, type RankIdentity } from "./fakeRank.ts";

const tickMs = 100;

interface Life {
  readonly rank: FakeRank | undefined;
  readonly gateway: FakeGateway | undefined;
  readonly address: string;
  ready: boolean;
}

export class FakeKubelet {
  readonly #cluster: Cluster;
  readonly #informer: Informer<Pod>;
  /** By pod uid. */
  readonly #lives = new Map<string, Life>();
  /** Nodes whose kubelet is silent. */
  readonly #lostNodes = new Set<string>();
  /** By namespace and pod uid. */
  readonly #gateways = new Map<string, FakeGateway>();
  readonly #seen = new Map<string, Set<string>>();
  readonly #network: string;
  #addresses = 0;
  #timer: NodeJS.Timeout | undefined;
  #ticking: Promise<void> = Promise.resolve();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#informer = new Informer({ cluster, resource: pods });
    // Several test files may play ranks on one loopback at once.
    this.#network = `127.${String(64 + (process.pid % 128))}.${String(Math.floor(Math.random() * 250) + 1)}`;
    this.#informer.handle({
      added: (pod) => {
        const key = keyOf(pod);
        const seen = this.#seen.get(key) ?? new Set();
        this.#seen.set(key, seen.add(pod.metadata.uid));
      },
    });
  }

  async start(): Promise<void> {
    this.#informer.start();
    await this.#informer.synced(30_000);
    const loop = (): void => {
      this.#timer = setTimeout(() => {
        this.#ticking = this.#tick().then(loop, loop);
      }, tickMs);
    };
    loop();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#ticking;
    clearTimeout(this.#timer);
    await this.#informer.stop();
    for (const life of this.#lives.values()) await this.#stopLife(life);
  }

  get ranks(): readonly FakeRank[] {
    return [...this.#lives.values()].flatMap((life) => life.rank ?? []);
  }

  ranksOf(group: string): readonly FakeRank[] {
    return this.ranks
      .filter((rank) => rank.identity.group === group)
      .sort((a, b) => (a.identity.rankId < b.identity.rankId ? -1 : 1));
  }

  /** How many pods ever had this name. */
  livesOf(key: string): number {
    return this.#seen.get(key)?.size ?? 0;
  }

  /** The node's machine is gone: its ranks fall silent and its pods can't be let go. */
  async loseNode(name: string): Promise<void> {
    this.#lostNodes.add(name);
    for (const pod of this.#informer.store.list()) {
      if (pod.spec?.nodeName === name) await this.#end(pod);
    }
  }

  findNode(name: string): void {
    this.#lostNodes.delete(name);
  }

  /** While true, no pod that is new to its node is started. */
  holdsStarts = false;

  /** The rank's process ends with an error. */
  async crash(key: string): Promise<void> {
    const pod = this.#informer.store.get(key);
    if (pod === undefined) throw new Error(`There is no pod ${key}`);
    await this.#end(pod);
    await this.#patch(pod, {
      phase: "Failed",
      containerStatuses: [
        {
          ...{ name: "engine", ready: false, restartCount: 0, image: "i", imageID: "i" },
          state: { terminated: { exitCode: 137, reason: "OOMKilled" } },
        },
      ],
    });
  }

  async #tick(): Promise<void> {
    for (const rank of this.ranks) rank.tick(tickMs);
    for (const pod of this.#informer.store.list()) {
      const node = pod.spec?.nodeName ?? "";
      if (node === "" || this.#lostNodes.has(node) || pod.status?.phase === "Failed") continue;
      try {
        await this.#look(pod);
      } catch (error) {
        // The pod went away while it was looked at.
        if (!isNotFound(error) && !isConflict(error)) throw error;
      }
    }
    for (const [uid, life] of this.#lives) {
      const pod = this.#informer.store.list().find((one) => one.metadata.uid === uid);
      if (pod !== undefined) continue;
      this.#lives.delete(uid);
      await this.#stopLife(life);
    }
  }

  async #look(pod: Pod): Promise<void> {
    if (pod.metadata.deletionTimestamp !== undefined) {
      await this.#end(pod);
      await remove(this.#cluster, pods, pod, { uid: pod.metadata.uid, gracePeriodSeconds: 0 });
      return;
    }
    const known = this.#lives.get(pod.metadata.uid);
    if (known === undefined && this.holdsStarts) return;
    const life = known ?? (await this.#begin(pod));
    const ready = life.rank === undefined || life.rank.phase === "serving";
    if (life.ready === ready && pod.status?.phase === "Running") return;
    life.ready = ready;
    const now = new Date().toISOString();
    await this.#patch(pod, {
      phase: "Running",
      podIP: life.address,
      podIPs: [{ ip: life.address }],
      conditions: ["Ready", "ContainersReady"].map((type) => ({
        ...{ type, status: ready ? "True" : "False" },
        lastTransitionTime: now,
      })),
    });
  }

  async #begin(pod: Pod): Promise<Life> {
    this.#addresses += 1;
    const address = `${this.#network}.${String(this.#addresses)}`;
    const rank = await this.#startRank(pod, address);
    const life: Life = { rank, gateway: await this.#startGateway(pod, address), address, ready: false };
    this.#lives.set(pod.metadata.uid, life);
    return life;
  }

  async #startGateway(pod: Pod, address: string): Promise<FakeGateway | undefined> {
    if (pod.metadata.labels?.[labelKey.role] !== "gateway") return undefined;
    const gateway = new FakeGateway();
    await gateway.start(address);
    this.#gateways.set(`${pod.metadata.namespace ?? ""}/${pod.metadata.uid}`, gateway);
    return gateway;
  }

  async #stopLife({ rank, gateway }: Life): Promise<void> {
    await Promise.all([rank?.stop(), gateway?.stop()]);
    for (const [key, one] of this.#gateways) if (one === gateway) this.#gateways.delete(key);
  }

  /** Of the namespace's deployment. */
  gatewaysOf(namespace: string): readonly FakeGateway[] {
    return [...this.#gateways].filter(([key]) => key.startsWith(`${namespace}/`)).map(([, one]) => one);
  }

  async #startRank(pod: Pod, address: string): Promise<FakeRank | undefined> {
    const labels = pod.metadata.labels ?? {};
    const role = labels[labelKey.role];
    if (role !== "prefill" && role !== "decode") return undefined;
    const namespace = pod.metadata.namespace ?? "";
    const identity: RankIdentity = {
      rankId: pod.metadata.name,
      incarnation: pod.metadata.uid,
      address,
      role,
      namespace,
      group: labels[labelKey.group] ?? "",
      deployment: labels[labelKey.deployment] ?? "",
    };
    const volume = pod.spec?.volumes?.find((one) => one.name === "control");
    const name = volume?.secret?.secretName ?? "";
    const secret = await get(this.#cluster, secrets, { metadata: { namespace, name } });
    const token = Buffer.from(secret?.data?.["token"] ?? "", "base64").toString("utf8");
    const rank = new FakeRank(identity, token, () => {
      formEpoch(this.#peers(identity.namespace, identity.group));
    });
    await rank.start();
    return rank;
  }

  async #end(pod: Pod): Promise<void> {
    const life = this.#lives.get(pod.metadata.uid);
    if (life?.rank === undefined || life.rank.phase === "failed") return;
    await life.rank.stop();
    const { namespace, group } = life.rank.identity;
    formEpoch(this.#peers(namespace, group));
  }

  #peers(namespace: string, group: string): readonly FakeRank[] {
    return this.ranksOf(group).filter(
      (rank) => rank.identity.namespace === namespace && rank.phase !== "failed",
    );
  }

  async #patch(pod: Pod, status: object): Promise<void> {
    await mergePatch(this.#cluster, pods, pod, { status }, { subresource: "status" });
  }
}
