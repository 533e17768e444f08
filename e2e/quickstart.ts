/**
 * `npm run quickstart`: from a fresh clone to answers of a real model, served by groups of real pods. Each step
 * may be repeated: what is there already is kept, what changed is renewed.
 */
import { type Cluster, downAll, helm, namedCluster, up } from "./cluster/cluster.ts";
import { ensureDocker } from "./cluster/docker.ts";
import { archiveImages, buildImages, loadImages, pushImages } from "./cluster/images.ts";
import { say } from "./cluster/progress.ts";
import { forward } from "./quickstart/forward.ts";
import {
  applySample,
  DEPLOYMENT,
  installChart,
  NAMESPACE,
  removeSample,
  restartOperator,
  uninstall,
} from "./quickstart/install.ts";
import { longPrompt } from "./quickstart/longPrompt.ts";
import { HELP, type Options, parseOptions } from "./quickstart/options.ts";
import { describeAnswer, describePlaces, nextSteps, rankPlaces } from "./quickstart/report.ts";
import { chat, complete, servedModels } from "./quickstart/requests.ts";
import { waitUntilServing } from "./quickstart/serving.ts";

const GATEWAY_PORT = 8000;
const QUESTION = "What is the capital of France? Answer in one sentence.";

/** Results go to standard output; progress goes to standard error. */
function print(text: string): void {
  process.stdout.write(`${text}\n\n`);
}

/** A cluster with our images on it. */
async function prepareCluster(options: Options): Promise<Cluster> {
  if (options.named !== undefined) {
    const cluster = await namedCluster(options.named.kubeconfig, options.named.context);
    if (options.push !== undefined) {
      await ensureDocker();
      await buildImages();
      await pushImages(`${options.push}/csps`);
    }
    return cluster;
  }
  const cluster = await up(options.name, async (known) => {
    await buildImages();
    await archiveImages(known);
  });
  const renewed = await loadImages(cluster);
  // Pods of an earlier run keep the image that they started with, under the same tag.
  if (renewed.length > 0 && (await hasRelease(cluster))) {
    await removeSample(cluster);
    if (renewed.includes("operator")) await restartOperator(cluster);
  }
  return cluster;
}

async function hasRelease(cluster: Cluster): Promise<boolean> {
  return (await helm(cluster, ["list", "-A", "-q"])).split("\n").includes("csps");
}

/** Asks, prints, and returns the model's name. */
async function ask(cluster: Cluster): Promise<string> {
  const gateway = await forward(cluster, NAMESPACE, `service/${DEPLOYMENT}-gateway`, GATEWAY_PORT);
  try {
    const [model] = await servedModels(gateway.url);
    if (model === undefined) throw new Error("the endpoint names no model");
    const places = await rankPlaces(cluster);
    const short = await chat(gateway.url, model, QUESTION);
    const long = await complete(gateway.url, model, longPrompt());
    print(describePlaces(places));
    print(describeAnswer(`Chat: ${QUESTION}`, short));
    print(describeAnswer("Completion of a lighthouse keeper's log:", long));
    return model;
  } finally {
    gateway.close();
  }
}

async function remove(options: Options): Promise<void> {
  if (options.named === undefined) {
    await downAll(options.name);
    say(`  cluster ${options.name} is gone; the cache stays`);
  } else {
    await uninstall(await namedCluster(options.named.kubeconfig, options.named.context));
  }
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (options.help) {
    print(HELP);
    return;
  }
  if (options.down) {
    await remove(options);
    return;
  }
  const started = Date.now();
  say("1. A cluster with our images");
  const cluster = await prepareCluster(options);
  say("2. CSPS and a model on it");
  await installChart(cluster, options.push);
  await applySample(cluster, options.push);
  await waitUntilServing(cluster);
  say("3. Two requests");
  const model = await ask(cluster);
  const command = ["npm run quickstart --", ...process.argv.slice(2), "--down"].join(" ");
  print(nextSteps(cluster, model, GATEWAY_PORT, command));
  say(`Done in ${((Date.now() - started) / 1000).toFixed(0)} s.`);
}

try {
  await main();
} catch (error) {
  say(`\nquickstart: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
