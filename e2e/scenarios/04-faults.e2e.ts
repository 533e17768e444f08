import { afterEach, beforeEach, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { up } from "../cluster/cluster.ts";
import { run } from "../cluster/command.ts";
import { complete, type Completion, type CompletionRequest } from "./gateway.ts";
import { demand, eventually } from "./eventually.ts";
import { isReady } from "./objects.ts";
import { story } from "./prompts.ts";
import {
  deployment,
  conditionOf,
  healthy,
  kubectl,
  nodes,
  openGateway,
  pods,
  rankPods,
  MODEL,
  world,
} from "./world.ts";

const MINUTE = 60_000;

let door: Forward;

beforeEach(async () => {
  await healthy(4 * MINUTE);
  door = await openGateway();
}, 6 * MINUTE);

afterEach(() => {
  door.close();
});

/** Spends its time decoding. */
const TALKATIVE = { prompt: story(150), maxTokens: 160 };
/** Spends its time in prefill: four of them queue for longer than it takes until the fault comes. */
const LONG_WINDED = { prompt: story(1000), maxTokens: 24 };

async function stream(request: CompletionRequest = TALKATIVE): Promise<Completion> {
  return await complete(door.url, MODEL, request, 4 * MINUTE);
}

type Outcome = { kind: "whole"; completion: Completion } | { kind: "refused"; message: string };

/** Four streams with a fault in their midst; each ends whole or with an error that says something. */
async function streamsThrough(
  fault: () => Promise<void>,
  request: CompletionRequest = TALKATIVE,
): Promise<Outcome[]> {
  const streams = Array.from({ length: 4 }, async (): Promise<Outcome> => {
    try {
      return { kind: "whole", completion: await stream(request) };
    } catch (error) {
      return { kind: "refused", message: error instanceof Error ? error.message : String(error) };
    }
  });
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  await fault();
  const outcomes = await Promise.all(streams);
  for (const outcome of outcomes) {
    console.log(
      outcome.kind === "whole"
        ? `   stream whole, longest pause ${outcome.completion.longestPauseMs} ms`
        : `   stream refused: ${outcome.message}`,
    );
  }
  return outcomes;
}

/** Every stream is whole and says what it says without a fault. */
function expectWhole(outcomes: readonly Outcome[], undisturbed: Completion): void {
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ kind: "whole", completion: { text: undisturbed.text } });
  }
}

async function deletePod(name: string, namespace: string): Promise<void> {
  await kubectl(["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--wait=false"]);
}

test.each([
  { role: "prefill", request: LONG_WINDED },
  { role: "decode", request: TALKATIVE },
] as const)(
  "streams survive the loss of a $role rank, and the group is whole again by itself",
  { timeout: 10 * MINUTE },
  async ({ role, request }) => {
    const undisturbed = await stream(request);
    const victim = (await rankPods(role)).at(-1);
    expect(victim).toBeDefined();
    if (victim === undefined) return;
    const outcomes = await streamsThrough(() => deletePod(victim.metadata.name, world.namespace), request);
    expectWhole(outcomes, undisturbed);
    await healthy(4 * MINUTE);
    const successor = (await rankPods(role)).find((pod) => pod.metadata.name === victim.metadata.name);
    expect(successor?.metadata.uid).not.toBe(victim.metadata.uid);
  },
);

test("streams do not notice the loss of Redis, and it comes back", { timeout: 10 * MINUTE }, async () => {
  const undisturbed = await stream();
  const selector = `csps.io/deployment=${world.deployment},csps.io/role=state`;
  const [redis] = await pods(selector);
  expect(redis).toBeDefined();
  if (redis === undefined) return;
  expectWhole(await streamsThrough(() => deletePod(redis.metadata.name, world.namespace)), undisturbed);
  await eventually("a new Redis pod", 2 * MINUTE, async () => {
    const [now] = await pods(selector);
    demand(
      now !== undefined && now.metadata.uid !== redis.metadata.uid && isReady(now),
      "it is not Ready yet",
    );
  });
  await eventually("StateStoreReachable", 2 * MINUTE, async () => {
    const condition = conditionOf(await deployment(), "StateStoreReachable");
    demand(condition.status === "True", `${condition.status} ${condition.reason}: ${condition.message}`);
  });
});

test(
  "a Redis that is wiped, its connections cut, has the whole index again within 10 s; no stream notices",
  { timeout: 10 * MINUTE },
  async () => {
    const undisturbed = await stream();
    const [redis] = await pods(`csps.io/deployment=${world.deployment},csps.io/role=state`);
    const ranks = [...(await rankPods("prefill")), ...(await rankPods("decode"))].length;
    const ask = async (...words: string[]): Promise<string> => {
      const script = `REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /etc/redis/redis.conf) redis-cli "$@"`;
      const inside = ["exec", "-n", world.namespace, redis?.metadata.name ?? "", "--", "sh", "-c", script];
      return (await kubectl([...inside, "redis-cli", ...words])).trim();
    };
    const key = (name: string): string => `csps:{${world.namespace}/${world.deployment}}:${name}`;
    const outcomes = await streamsThrough(async () => {
      const held = await ask("HKEYS", key("shards"));
      expect(held.split("\n")).toHaveLength(4);
      const wipedMs = Date.now();
      await ask("FLUSHALL");
      await ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await eventually("the index to be whole again", 10_000, async () => {
        const back = await ask("HKEYS", key("shards"));
        expect(back.split("\n").toSorted()).toEqual(held.split("\n").toSorted());
        expect(await ask("HLEN", key("ranks"))).toBe(String(ranks));
      });
      console.log(`   the index was whole again after ${Date.now() - wipedMs} ms`);
    });
    expectWhole(outcomes, undisturbed);
  },
);

test(
  "streams do not notice the loss of the operator, which comes back and heals",
  { timeout: 10 * MINUTE },
  async () => {
    const undisturbed = await stream();
    const selector = ["-n", world.operatorNamespace, "-l", "app.kubernetes.io/component=operator"];
    const outcomes = await streamsThrough(async () => {
      await kubectl(["delete", "pod", ...selector, "--grace-period=0", "--force", "--wait=false"]);
    });
    expectWhole(outcomes, undisturbed);
    const before = (await rankPods("decode"))[0];
    expect(before).toBeDefined();
    if (before === undefined) return;
    await deletePod(before.metadata.name, world.namespace);
    await eventually("the new operator to replace a rank", 4 * MINUTE, async () => {
      const now = (await rankPods("decode")).find((pod) => pod.metadata.name === before.metadata.name);
      demand(
        now !== undefined && now.metadata.uid !== before.metadata.uid,
        "the rank's pod is not replaced yet",
      );
    });
  },
);

test("a stopped node is survived and its ranks return", { timeout: 15 * MINUTE }, async () => {
  const undisturbed = await stream();
  const ranks = [...(await rankPods("prefill")), ...(await rankPods("decode"))];
  const others = await pods(`csps.io/deployment=${world.deployment},csps.io/role=gateway`);
  const gatewayNodes = new Set(others.map((pod) => pod.spec.nodeName));
  const victim = ranks
    .map((pod) => pod.spec.nodeName)
    .find((node) => node !== undefined && !gatewayNodes.has(node));
  expect(victim).toBeDefined();
  if (victim === undefined) return;
  const outcomes = await streamsThrough(async () => {
    await run("docker", ["stop", "--time=0", victim], { timeoutMs: MINUTE });
  });
  try {
    for (const outcome of outcomes) {
      if (outcome.kind === "whole") expect(outcome.completion.text).toBe(undisturbed.text);
      else expect(outcome.message).toMatch(/the stream carried an error: \{"message":"[^"]{20,}/);
    }
    const answers = await eventually("the deployment to answer without the node", 4 * MINUTE, stream, 2_000);
    expect(answers.text).toBe(undisturbed.text);
  } finally {
    await run("docker", ["start", victim], { timeoutMs: MINUTE });
  }
  await eventually(`node ${victim} to be Ready`, 4 * MINUTE, async () => {
    const node = (await nodes()).get(victim);
    demand(node !== undefined && isReady(node), "it is not Ready yet");
  });
  // Advertises the node's GPUs again, which a device plugin would do on a real one.
  await up(world.cluster);
  await healthy(6 * MINUTE);
});
