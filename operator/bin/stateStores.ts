/** The operator's connections to the state stores, one per deployment and URL. */
import type { ClusterState, StateAnswer, StateProblem } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import type { StateStoreAccess, StateStoreTarget } from "../controllers/cspsdeployment/context.ts";

interface Connection {
  readonly url: string;
  readonly ca: string | undefined;
  readonly state: ClusterState;
}

interface Probe {
  readonly url: string;
  readonly failure: string | undefined;
  readonly atMs: number;
}

const probeAgeMs = 5_000;

/** A connection is made in the background, a busy process hears an answer late, and another primary takes over: asked again. */
const passing: readonly StateProblem[] = ["unreachable", "timeout", "readOnly"];
const retryMs = 100;

export class StateStores implements StateStoreAccess {
  readonly #connections = new Map<string, Connection>();
  readonly #probes = new Map<string, Probe>();
  readonly #fence: () => number;

  constructor(fence: () => number) {
    this.#fence = fence;
  }

  /** An answer is used again for a while, so that a dead store does not slow down every reconcile. */
  async probe(target: StateStoreTarget): Promise<string | undefined> {
    const last = this.#probes.get(target.deployment);
    if (last?.url === target.url && performance.now() - last.atMs < probeAgeMs) return last.failure;
    const failure = await this.#ask(target, (state) => state.advanceFence(this.#fence()));
    this.#probes.set(target.deployment, { url: target.url, failure, atMs: performance.now() });
    return failure;
  }

  async clear(target: StateStoreTarget): Promise<string | undefined> {
    return await this.#ask(target, (state) => state.clear(this.#fence()));
  }

  /** The cluster state of a deployment; a sentence when the URL can't be read. Its calls have their own deadline. */
  async of(target: Omit<StateStoreTarget, "deadlineMs">): Promise<ClusterState | string> {
    return this.#connect(target);
  }

  async release(deployment: string): Promise<void> {
    const connection = this.#connections.get(deployment);
    this.#connections.delete(deployment);
    this.#probes.delete(deployment);
    await connection?.state.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections.keys()].map((deployment) => this.release(deployment)));
  }

  async #ask(
    target: StateStoreTarget,
    question: (state: ClusterState) => Promise<StateAnswer<unknown>>,
  ): Promise<string | undefined> {
    const deadline = performance.now() + target.deadlineMs;
    const connected = await this.#connect(target);
    if (typeof connected === "string") return connected;
    const state = connected;
    for (;;) {
      const answer = await question(state);
      if (answer.ok)
        return answer.value === "stale" ? "another operator with a newer term uses it" : undefined;
      if (!passing.includes(answer.problem) || performance.now() + retryMs > deadline) {
        return `${answer.problem}: ${answer.message}`;
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }

  /** A sentence when the URL can't be read. */
  async #connect({
    deployment,
    url,
    ca,
  }: Omit<StateStoreTarget, "deadlineMs">): Promise<ClusterState | string> {
    const known = this.#connections.get(deployment);
    if (known?.url === url && known.ca === ca) return known.state;
    if (known !== undefined) await this.release(deployment);
    try {
      const trust = ca === undefined ? {} : { ca };
      const state = createRedisClusterState({ url, ...trust, deployment, now: Date.now });
      this.#connections.set(deployment, { url, ca, state });
      return state;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}
