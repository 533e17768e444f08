/**
 * The level map: which node labels say how close two nodes are, narrow to broad.
 *
 * A node carries one value per label, so no labelled domain is smaller than a node: `host` comes first, and an
 * NVLink clique (one host, or the hosts of an NVL72 cabinet) comes after it.
 */
export interface Level {
  readonly name: string;
  /** Node labels that carry the level's value; the first one present counts. Empty: the node itself. */
  readonly keys: readonly string[];
}

export const hostLevel = "host";

export const defaultLevels: readonly Level[] = [
  { name: hostLevel, keys: [] },
  { name: "accelerator", keys: ["nvidia.com/gpu.clique", "network.topology.nvidia.com/accelerator"] },
  { name: "rack", keys: ["csps.io/rack", "network.topology.nvidia.com/leaf"] },
  { name: "spine", keys: ["network.topology.nvidia.com/spine"] },
  { name: "core", keys: ["network.topology.nvidia.com/core"] },
  { name: "zone", keys: ["topology.kubernetes.io/zone"] },
  { name: "region", keys: ["topology.kubernetes.io/region"] },
];

/** The whole cluster: the root of every tree, broader than any level. */
export const clusterLevel: Level = { name: "cluster", keys: [] };

/** Index of the level that a user named by level name or label key; undefined when the map lacks it. */
export function levelIndex(levels: readonly Level[], named: string): number | undefined {
  const index = levels.findIndex((level) => level.name === named || level.keys.includes(named));
  if (index >= 0) return index;
  return named === "kubernetes.io/hostname"
    ? levels.findIndex((level) => level.name === hostLevel)
    : undefined;
}

/**
 * The map with a level for every label key that a user named beside the known ones. Such a level is taken to
 * be narrower than a zone and broader than anything below it.
 */
export function withNamedLevels(
  levels: readonly Level[],
  named: readonly (string | undefined)[],
): readonly Level[] {
  let result = levels;
  for (const name of named) {
    if (name === undefined || name === clusterLevel.name || levelIndex(result, name) !== undefined) continue;
    const zone = result.findIndex((level) => level.name === "zone");
    const at = zone < 0 ? result.length : zone;
    result = [...result.slice(0, at), { name, keys: [name] }, ...result.slice(at)];
  }
  return result;
}
