/** The Lua verbs and their descriptors, read from the files beside this one and checked once at start. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const descriptor = z.object({
  verb: z.string(),
  purpose: z.string(),
  writes: z.boolean(),
  keys: z.array(z.string()).min(1),
  args: z.array(
    z.object({ name: z.string(), type: z.enum(["integer", "string", "json"]), description: z.string() }),
  ),
  replies: z.array(z.object({ tag: z.string(), fields: z.array(z.string()) })).min(1),
});

export type VerbDescriptor = z.infer<typeof descriptor>;

export const verbNames = [
  "rank_report",
  "rank_remove",
  "rank_list",
  "shard_put",
  "shard_remove",
  "shard_list",
  "move_begin",
  "move_end",
  "move_list",
  "prefix_note",
  "prefix_list",
  "degree_put",
  "degree_get",
  "fence_advance",
  "fence_check",
  "deployment_clear",
] as const;

export type VerbName = (typeof verbNames)[number];

export interface Verb {
  readonly descriptor: VerbDescriptor;
  readonly lua: string;
  /** By which Redis knows a script that it has run before. */
  readonly sha1: string;
}

/** A verb is called with each argument by its name; JSON arguments as values. */
export type VerbArguments = Readonly<Record<string, unknown>>;

/** Folder of the verbs: beside this module, also where a bundle of it is laid beside a copy of the folder. */
const folder = join(import.meta.dirname, "verbs");

/** Throws when a file is missing or a descriptor is malformed: an installation that is not whole. */
export function loadVerbs(): Readonly<Record<VerbName, Verb>> {
  const verbs = verbNames.map((name) => {
    const lua = readFileSync(join(folder, `${name}.lua`), "utf8");
    const read: unknown = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
    const verb: Verb = {
      descriptor: descriptor.parse(read),
      lua,
      sha1: createHash("sha1").update(lua).digest("hex"),
    };
    return [name, verb] as const;
  });
  return Object.fromEntries(verbs) as Record<VerbName, Verb>;
}

/** Full names of a verb's keys; one hash tag for all keys of a deployment. */
export function keysOf(verb: VerbDescriptor, deployment: string): string[] {
  return verb.keys.map((name) => `csps:{${deployment}}:${name}`);
}

/** A verb's arguments as Redis takes them, in the descriptor's order. */
export function argumentsOf(verb: VerbDescriptor, values: VerbArguments): string[] {
  return verb.args.map(({ name, type }) => {
    const value = values[name];
    if (type === "json") return JSON.stringify(value);
    if (typeof value === "string" && type === "string") return value;
    if (Number.isSafeInteger(value) && type === "integer") return String(value);
    throw new TypeError(`${verb.verb}: ${name} has to be of type ${type}, not ${JSON.stringify(value)}`);
  });
}
