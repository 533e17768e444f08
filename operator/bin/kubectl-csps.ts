#!/usr/bin/env node
/** The kubectl plugin: `kubectl csps <verb>` where this file is on the PATH as kubectl-csps. */
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { runCli } from "../cli/program.ts";
import { forwardPort } from "../cli/reach.ts";
import type { DesignedGangs } from "../cli/surroundings.ts";
import { deploymentDesign } from "../controllers/cspsdeployment/desired/deploymentDesign.ts";
import { desiredGroups, desiredPool } from "../controllers/cspsdeployment/desired/gangs.ts";
import { type CSPSDeployment, type Desired, type KubeObject, ownedBy } from "../kube/object.ts";
import { decodeDesign, prefillDesign } from "../ranks/gang.ts";
import { predict } from "../simulator/predict.ts";
import { loadTrace } from "../simulator/traces/load.ts";

/** Where a pod's image comes from has no part in where it fits. */
const images = { gateway: "", engineCpu: "", engineCuda: "", redis: "" };

function designGangs(deployment: CSPSDeployment): DesignedGangs {
  const design = deploymentDesign(deployment, { images, operatorNamespace: "", scrapeNamespaces: [] });
  const groups = desiredGroups(design).map((group) => prefillDesign(asStored(group)));
  return { owner: ownedBy(deployment), gangs: [...groups, decodeDesign(asStored(desiredPool(design)))] };
}

/** An object that is only planned has none of what a server would add. */
function asStored<T extends KubeObject>(object: Desired<T>): T {
  const metadata = { ...object.metadata, uid: "", resourceVersion: "", creationTimestamp: "" };
  return { ...object, metadata } as unknown as T;
}

process.exitCode = await runCli(process.argv.slice(2), {
  write: (out) => process.stdout.write(out),
  writeError: (out) => process.stderr.write(out),
  colour: process.stdout.isTTY && (process.env["NO_COLOR"] ?? "") === "",
  nowMs: Date.now,
  readFile: (path) => (path === "-" ? text(process.stdin) : readFile(path, "utf8")),
  reach: forwardPort,
  designGangs,
  predict: ({ spec }, tracePath, accelerator) => predict(spec, loadTrace(tracePath), accelerator),
});
