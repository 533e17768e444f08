/** Makes the secrets of a deployment, and brings an external store's URL up to date. Secrets are read by name only. */
import { randomBytes } from "node:crypto";
import { get } from "../../kube/apply.ts";
import type { Desired, Secret } from "../../kube/object.ts";
import { secrets } from "../../kube/resource.ts";
import { childName } from "../../ranks/names.ts";
import { applyChanged } from "./applyOwned.ts";
import type { DeploymentContext } from "./context.ts";
import type { DeploymentDesign } from "./desired/deploymentDesign.ts";
import type { StoreAccess } from "./desired/secrets.ts";
import {
  desiredBundledState,
  desiredControlToken,
  desiredExternalState,
  secretValue,
  storeAccess,
} from "./desired/secrets.ts";

/** Returns how to reach the state store; undefined when an external one's secret does not hold its URL. */
export async function ensureSecrets(
  context: DeploymentContext,
  design: DeploymentDesign,
): Promise<StoreAccess | undefined> {
  await ensureSecret(context, design, childName.controlToken(design.name), (present) =>
    desiredControlToken(design, secretValue(present, "token") ?? randomText()),
  );
  const name = childName.state(design.name);
  const { mode, urlSecret } = design.spec.stateStore;
  if (mode === "Bundled") {
    const state = await ensureSecret(context, design, name, (present) =>
      desiredBundledState(design, secretValue(present, "password") ?? randomText()),
    );
    return storeAccess(state, "url");
  }
  const given = await read(context, design, urlSecret?.name ?? "");
  const access = storeAccess(given, urlSecret?.key ?? "url");
  if (access !== undefined)
    await ensureSecret(context, design, name, () => desiredExternalState(design, access));
  return access;
}

/** Builds the secret from the one that is there, so that a random value is drawn once only. */
async function ensureSecret(
  context: DeploymentContext,
  design: DeploymentDesign,
  name: string,
  build: (present: Secret | undefined) => Desired<Secret>,
): Promise<Desired<Secret>> {
  const present = await read(context, design, name);
  const object = build(present);
  await applyChanged(context, secrets, { object, present });
  return object;
}

function read(
  context: DeploymentContext,
  design: DeploymentDesign,
  name: string,
): Promise<Secret | undefined> {
  return get(context.cluster, secrets, { metadata: { namespace: design.namespace, name } });
}

function randomText(): string {
  return randomBytes(24).toString("base64url");
}
