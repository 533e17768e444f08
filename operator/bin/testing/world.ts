/** A real control plane with nodes, kubelets and ranks played by the test, and an operator that can be restarted. */
import { join } from "node:path";
import { expect } from "vitest";
import { startControlPlane, type ControlPlane } from "../../../e2e/cluster/native.ts";
import { create, get, mergePatch } from "../../kube/apply.ts";
import { type Cluster, connect } from "../../kube/cluster.ts";
import { listPages } from "../../kube/list.ts";
import type { KubeObject, SPGroup } from "../../kube/object.ts";
import { cspsDeployments, events, namespaces, nodes, type Resource, spGroups } from "../../kube/resource.ts";
import { createLogger } from "../../observability/logger.ts";
import { defaultGangPolicy } from "../../planning/gang/plan.ts";
import { type RunningOperator, startOperator } from "../compose.ts";
import { parseOptions } from "../options.ts";
import { FakeKubelet } from "./fakeKubelet.ts";

const root = join(import.meta.dirname, "..", "..", "..");

/** Production's rules with shorter waits. */
const quickPolicy = {
  ...defaultGangPolicy,
  restart: { ...defaultGangPolicy.restart, firstBackoffMs: 1_000 },
  removal: { ...defaultGangPolicy.removal, lostNodeMs: 1_000 },
};

export interface NodeShape {
  readonly name: string;
  readonly rack: string;
  readonly gpus: number;
}

export class World {
  readonly cluster: Cluster;
  readonly kubelet: FakeKubelet;
  readonly plane: ControlPlane;
  #operator: RunningOperator | undefined;
  /** Made and not yet taken out of this list by the test. */
  readonly namespaces: string[] = [];
  #made = 0;

  private constructor(plane: ControlPlane) {
    this.plane = plane;
    this.cluster = connect({ kubeconfig: plane.kubeconfigPath });
    this.kubelet = new FakeKubelet(this.cluster);
  }

  static async start(): Promise<World> {
    const world = new World(await startControlPlane({ crds: join(root, "crds") }));
    await create(world.cluster, namespaces, { metadata: { name: "csps-system" } });
    await world.kubelet.start();
    return world;
  }

  async stop(): Promise<void> {
    await this.stopOperator();
    await this.kubelet.stop();
    this.cluster.close();
    await this.plane.stop();
  }

  async startOperator(): Promise<RunningOperator> {
    const { kubeconfigPath } = this.plane;
    const args = ["--kubeconfig", kubeconfigPath, "--metrics-port", "0", "--health-port", "0"];
    const options = parseOptions(args, { CSPS_OPERATOR_NAMESPACE: "csps-system" });
    if (options === undefined) throw new Error("The options ask for help");
    const logger = createLogger({ level: "error" });
    this.#operator = await startOperator(options, { logger, version: "test", gangPolicy: quickPolicy });
    return this.#operator;
  }

  async stopOperator(): Promise<void> {
    const running = this.#operator;
    this.#operator = undefined;
    await running?.stop();
  }

  async addNode({ name, rack, gpus }: NodeShape): Promise<void> {
    const labels = {
      "kubernetes.io/hostname": name,
      "csps.io/rack": rack,
      "topology.kubernetes.io/zone": "z1",
    };
    await create(this.cluster, nodes, { metadata: { name, labels } });
    const amounts = { cpu: "8", memory: "16Gi", pods: "110", "nvidia.com/gpu": String(gpus) };
    await this.#patchNode(name, {
      capacity: amounts,
      allocatable: amounts,
      conditions: [readyCondition("True")],
    });
  }

  async loseNode(name: string): Promise<void> {
    await this.kubelet.loseNode(name);
    await this.#patchNode(name, { conditions: [readyCondition("False")] });
  }

  /** The machine comes back, empty. */
  async findNode(name: string): Promise<void> {
    this.kubelet.findNode(name);
    await this.#patchNode(name, { conditions: [readyCondition("True")] });
  }

  async removeNode(name: string): Promise<void> {
    await this.plane.kubectl(["delete", "node", name]);
  }

  /** A namespace of its own for each test. */
  async newNamespace(): Promise<string> {
    this.#made += 1;
    const name = `t${String(this.#made)}`;
    this.namespaces.push(name);
    await create(this.cluster, namespaces, { metadata: { name } });
    return name;
  }

  async applyDeployment(namespace: string, spec: object): Promise<void> {
    const object = {
      apiVersion: "csps.io/v1alpha1",
      kind: cspsDeployments.kind,
      metadata: { name: "m", namespace },
      spec,
    };
    await this.plane.kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(object));
  }

  /** A prefill group of two that no deployment owns. */
  async applyGroup(namespace: string): Promise<SPGroup> {
    const model = { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 };
    const spec = {
      ...{ deployment: "m", revision: "r1", ranks: 2, minRanks: 1, ordinal: 0, mode: "auto", model },
      ...{ engine: { backend: "cpu", image: "engine:1" }, tensorParallel: { degree: 1 }, rank: {} },
      ...{ stateStoreSecret: "m-state", controlTokenSecret: "m-control-token" },
    };
    const object = {
      apiVersion: "csps.io/v1alpha1",
      kind: "SPGroup",
      metadata: { name: "m-prefill-0", namespace },
      spec,
    };
    await this.plane.kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(object));
    const group = await this.read(spGroups, namespace, "m-prefill-0");
    if (group === undefined) throw new Error("The group was not made");
    return group;
  }

  read<T extends KubeObject>(resource: Resource<T>, namespace: string, name: string): Promise<T | undefined> {
    return get(this.cluster, resource, { metadata: { namespace, name } });
  }

  async list<T extends KubeObject>(resource: Resource<T>, namespace: string): Promise<T[]> {
    return (await listPages(this.cluster, { resource, namespace })).items;
  }

  /** Waits until an Event in the namespace gives this reason. */
  async untilTold(namespace: string, reason: string): Promise<void> {
    await eventually(async () => {
      expect((await this.list(events, namespace)).map((event) => event.reason)).toContain(reason);
    });
  }

  async #patchNode(name: string, status: object): Promise<void> {
    await mergePatch(this.cluster, nodes, { metadata: { name } }, { status }, { subresource: "status" });
  }
}

function readyCondition(status: "True" | "False"): object {
  const now = new Date().toISOString();
  return {
    type: "Ready",
    status,
    reason: "Test",
    message: "",
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
}

/** Asks until the answer is neither undefined nor false; an expectation that throws is asked again. */
export async function eventually<T>(question: () => Promise<T> | T, timeoutMs = 90_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await question();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
