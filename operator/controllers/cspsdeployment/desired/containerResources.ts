/** A container's resources from a spec, quantities as the strings that the API server returns. */
import type { Container } from "../../../ranks/desired/security.ts";

interface Given {
  readonly requests?: Readonly<Record<string, string | number>> | undefined;
  readonly limits?: Readonly<Record<string, string | number>> | undefined;
}

export function containerResources(given: Given | undefined): NonNullable<Container["resources"]> {
  return { requests: texts(given?.requests), limits: texts(given?.limits) };
}

function texts(list: Readonly<Record<string, string | number>> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(list ?? {}).map(([name, quantity]) => [name, String(quantity)]));
}
