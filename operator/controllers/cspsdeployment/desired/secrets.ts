/** The two secrets of a deployment. Random values are made once and kept ever after. */
import type { Desired, Secret } from "../../../kube/object.ts";
import { childName, ownLabels, redisPort } from "../../../ranks/names.ts";
import type { DeploymentDesign } from "./deploymentDesign.ts";

/** How to reach a state store. */
export interface StoreAccess {
  readonly url: string;
  /** Authorities that may have signed its certificate, in PEM; undefined: those of the system. */
  readonly ca: string | undefined;
}

export function desiredControlToken(design: DeploymentDesign, token: string): Desired<Secret> {
  return secret(design, childName.controlToken(design.name), { token });
}

/** Of the bundled store; `redis.conf` keeps the password out of the pod's command line. */
export function desiredBundledState(design: DeploymentDesign, password: string): Desired<Secret> {
  const host = `${childName.state(design.name)}.${design.namespace}.svc`;
  return secret(design, childName.state(design.name), {
    url: `redis://:${password}@${host}:${String(redisPort)}/0`,
    password,
    "redis.conf": redisConfiguration(password),
  });
}

/** Of an external store: URL and authority under the names and keys that ranks and gateways read. */
export function desiredExternalState(design: DeploymentDesign, access: StoreAccess): Desired<Secret> {
  const { url, ca } = access;
  return secret(design, childName.state(design.name), ca === undefined ? { url } : { url, "ca.crt": ca });
}

/** Nothing is kept on disk: what is in it can be rebuilt from the engines' reports. */
function redisConfiguration(password: string): string {
  return [
    `port ${String(redisPort)}`,
    `requirepass ${password}`,
    "dir /tmp",
    'save ""',
    "appendonly no",
    "maxmemory 256mb",
    "maxmemory-policy volatile-lru",
    "",
  ].join("\n");
}

function secret(design: DeploymentDesign, name: string, values: Record<string, string>): Desired<Secret> {
  const data = Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]);
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name,
      namespace: design.namespace,
      labels: ownLabels(design.name, "secret"),
      ownerReferences: [design.owner],
    },
    type: "Opaque",
    data: Object.fromEntries(data) as Record<string, string>,
  };
}

/** One value of a secret as it was read; undefined when it is not there. */
export function secretValue(secret: Pick<Secret, "data"> | undefined, key: string): string | undefined {
  const encoded = secret?.data?.[key];
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8");
}

/** What a secret says of a store: the URL under the given key, and the authority under `ca.crt` when there is one. */
export function storeAccess(
  secret: Pick<Secret, "data"> | undefined,
  urlKey: string,
): StoreAccess | undefined {
  const url = secretValue(secret, urlKey);
  return url === undefined ? undefined : { url: url.trim(), ca: secretValue(secret, "ca.crt") };
}
