/** Faults that scenarios bring about, and streams that go through them. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { run } from "../cluster/command.ts";
import { complete, type Completion, type CompletionRequest } from "./gateway.ts";
import { demand, eventually } from "./eventually.ts";
import { isReady, type Pod } from "./objects.ts";
import { story } from "./prompts.ts";
import { healthy, kubectl, MODEL, pods, world } from "./world.ts";

const MINUTE = 60_000;
export const STREAMS = 6;
/** The fault comes so long after the streams began, or once each has begun to answer, and is looked at as long again. */
const CALM_MS = 4_000;

/** Spends its time decoding. */
export const TALKATIVE: CompletionRequest = { prompt: story(150), maxTokens: 160 };
/** Goes on for as long as the model has something to say. */
export const LONG_LIVED: CompletionRequest = { ...TALKATIVE, maxTokens: 3 * TALKATIVE.maxTokens };
/** Outlives ten seconds within the fault, also where a step of six streams takes a third of what it does on two cores. */
export const NEVER_ENDING: CompletionRequest = { ...TALKATIVE, maxTokens: 96, ignoreEos: true };
/** Spends its time in prefill: several of them queue for longer than it takes until the fault comes. */
export const LONG_WINDED: CompletionRequest = { prompt: story(1000), maxTokens: 24 };

export type Outcome =
  | { readonly kind: "whole"; readonly completion: Completion }
  | { readonly kind: "refused"; readonly message: string };

export async function stream(url: string, request = TALKATIVE, onFirst?: () => void): Promise<Completion> {
  return await complete(url, MODEL, request, 25 * MINUTE, onFirst);
}

/**
 * Streams with a fault in their midst; each ends whole or with an error that says something. Whoever has its answer asks
 * again until the fault is over, so that it finds streams on a machine of any speed. `when` it comes: once each stream has
 * begun to answer, or while prompts still queue.
 */
export async function streamsThrough(
  url: string,
  fault: () => Promise<void>,
  request = TALKATIVE,
  when: "answering" | "prefilling" = "answering",
): Promise<Outcome[]> {
  let over = false;
  const answering = new Set<number>();
  const ask = async (index: number): Promise<Outcome> => {
    try {
      return { kind: "whole", completion: await stream(url, request, () => answering.add(index)) };
    } catch (error) {
      return { kind: "refused", message: error instanceof Error ? error.message : String(error) };
    }
  };
  const streams = Array.from({ length: STREAMS }, async (_, index): Promise<Outcome[]> => {
    const asked = [await ask(index)];
    while (!over && asked.at(-1)?.kind === "whole") asked.push(await ask(index));
    return asked;
  });
  try {
    await sleep(CALM_MS);
    if (when === "answering")
      await eventually("each stream to answer", 8 * MINUTE, () => {
        demand(answering.size === STREAMS, `${answering.size} of ${STREAMS} do`);
        return Promise.resolve();
      });
    await fault();
    await sleep(CALM_MS);
  } finally {
    over = true;
  }
  const outcomes = (await Promise.all(streams)).flat();
  const whole = outcomes.flatMap((one) => (one.kind === "whole" ? [one.completion] : []));
  const longestMs = Math.max(0, ...whole.map((one) => one.totalMs));
  const pauses = whole.map((one) => one.longestPauseMs);
  const recoveries = whole.reduce((sum, one) => sum + one.recoveries, 0);
  console.log(
    `   ${whole.length} of ${outcomes.length} streams whole, ${recoveries} went on elsewhere, ` +
      `longest pause ${Math.max(0, ...pauses)} ms of ${(longestMs / 1000).toFixed(1)} s`,
  );
  for (const outcome of outcomes)
    if (outcome.kind === "refused") console.log(`   stream refused: ${outcome.message}`);
  return outcomes;
}

/** Every stream is whole and says what it says without a fault. */
export function expectWhole(outcomes: readonly Outcome[], undisturbed: Completion): void {
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ kind: "whole", completion: { text: undisturbed.text } });
}

/** Waits until the deployment is whole and says how long after `sinceMs` it was. */
export async function healed(sinceMs: number, deadlineMs: number): Promise<void> {
  await healthy(deadlineMs);
  console.log(`   whole again after ${seconds(sinceMs)}`);
}

/** Since then. */
export function seconds(sinceMs: number): string {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
}

export async function deletePod(name: string, namespace: string): Promise<void> {
  await kubectl(["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--wait=false"]);
}

/** kill -9 of every process of a pod's containers, from its node: nobody is told. */
export async function killProcesses({ metadata: { name }, spec: { nodeName } }: Pod): Promise<void> {
  const script = [
    "for process in /proc/[0-9]*; do",
    `  tr '\\0' '\\n' <"$process/environ" 2>/dev/null | grep -qx "HOSTNAME=$1" && kill -9 "\${process#/proc/}"`,
    "done; true",
  ].join("\n");
  await run("docker", ["exec", nodeName ?? "", "sh", "-c", script, "kill", name], { timeoutMs: 3 * MINUTE });
}

const STATE = `csps.io/deployment=${world.deployment},csps.io/role=state`;

export async function redisPod(): Promise<Pod> {
  const [pod] = await pods(STATE);
  if (pod === undefined) throw new Error("there is no Redis pod");
  return pod;
}

/** Answers of `redis-cli words…` inside a Redis pod, in order: all in one call, which may take seconds by itself. */
async function askRedisAll({ metadata: { name } }: Pod, questions: readonly string[][]): Promise<string[]> {
  const asked = questions.map((words) => `redis-cli ${words.map((word) => `'${word}'`).join(" ")}`);
  const script = [`export REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /etc/redis/redis.conf)`, ...asked];
  const inside = ["exec", "-n", world.namespace, name, "--", "sh", "-c"];
  const answers = await kubectl([...inside, script.join(`; echo '${NEXT}'; `)]);
  return answers
    .split(`${NEXT}\n`)
    .slice(1)
    .map((answer) => answer.trim());
}

const NEXT = "-- next --";

/** Answer of `redis-cli words…` inside a Redis pod. */
export async function askRedis(redis: Pod, ...words: string[]): Promise<string> {
  const [answer = ""] = await askRedisAll(redis, [words]);
  return answer;
}

/** Requests and ranks that the index tells of. */
export interface Index {
  readonly requests: readonly string[];
  readonly ranks: number;
}

export async function readIndex(redis: Pod): Promise<Index> {
  const key = (name: string): string => `csps:{${world.namespace}/${world.deployment}}:${name}`;
  const [requests = "", ranks] = await askRedisAll(redis, [
    ["HKEYS", key("shards")],
    ["HLEN", key("ranks")],
  ]);
  return {
    requests: requests
      .split("\n")
      .filter((one) => one !== "")
      .toSorted(),
    ranks: Number(ranks),
  };
}

/** Waits until a Redis of another pod is Ready. */
export async function newRedis(before: Pod): Promise<Pod> {
  return await eventually("a new Redis pod", 6 * MINUTE, async () => {
    const now = await redisPod();
    demand(now.metadata.uid !== before.metadata.uid && isReady(now), "it is not Ready yet");
    return now;
  });
}
