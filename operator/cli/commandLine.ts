/** Words of the command line: a verb, names, and flags that are the same for every verb that takes them. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { UsageError } from "./exitCode.ts";

export const formats = ["table", "json", "yaml"] as const;
export type Format = (typeof formats)[number];

export const verbs = ["status", "topology", "explain", "plan", "kv", "drain", "rebalance"] as const;
export type Verb = (typeof verbs)[number];

const common = {
  kubeconfig: { type: "string" },
  context: { type: "string" },
  output: { type: "string", short: "o" },
  help: { type: "boolean", short: "h" },
} as const;
const namespaced = { namespace: { type: "string", short: "n" } } as const;
const dry = { "dry-run": { type: "boolean" } } as const;
const everywhere = { "all-namespaces": { type: "boolean", short: "A" } } as const;

/** Flags of each verb, and how many names it takes. */
const shapes = {
  status: { options: { ...common, ...namespaced, ...everywhere }, names: [0, 1] },
  topology: {
    options: { ...common, resource: { type: "string" }, level: { type: "string" } },
    names: [0, 0],
  },
  explain: { options: { ...common, ...namespaced, replay: { type: "boolean" } }, names: [1, 1] },
  kv: { options: { ...common, ...namespaced }, names: [0, 2] },
  drain: { options: { ...common, ...namespaced, ...dry }, names: [1, 1] },
  rebalance: { options: { ...common, ...namespaced, ...dry }, names: [0, 1] },
  plan: {
    options: {
      ...common,
      ...namespaced,
      filename: { type: "string", short: "f" },
      nodes: { type: "string" },
      trace: { type: "string" },
      accelerator: { type: "string" },
    },
    names: [0, 0],
  },
} as const satisfies Record<Verb, { options: object; names: readonly [number, number] }>;

export interface Invocation {
  readonly verb: Verb;
  readonly name: string | undefined;
  readonly format: Format;
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly namespace: string | undefined;
  readonly allNamespaces: boolean;
  readonly filename: string | undefined;
  readonly nodesFile: string | undefined;
  /** plan: what to play, and on what. */
  readonly traffic: {
    readonly tracePath: string | undefined;
    readonly accelerator: string | undefined;
  };
  readonly resource: string;
  readonly level: string | undefined;
  /** kv: compare the index with the engines. */
  readonly verify: boolean;
  readonly replay: boolean;
  readonly dryRun: boolean;
}

export interface HelpWanted {
  readonly help: Verb | "all";
}

/** Throws UsageError. */
export function parseCommandLine(args: readonly string[]): Invocation | HelpWanted {
  const [first, ...rest] = args;
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    return { help: isVerb(rest[0]) ? rest[0] : "all" };
  }
  if (!isVerb(first)) throw new UsageError(`there is no verb "${first}"; the verbs are ${verbs.join(", ")}`);
  const { values, positionals } = parseFlags(first, rest);
  if (values["help"] === true) return { help: first };
  const [least, most] = shapes[first].names;
  const named = first === "drain" ? "rank" : "CSPSDeployment";
  if (positionals.length < least) throw new UsageError(`${first} needs the name of a ${named}`);
  if (positionals.length > most) throw new UsageError(`${first} can't use "${positionals[most] ?? ""}"`);
  const verify = first === "kv" && positionals[0] === "verify";
  if (first === "kv" && positionals.length > 1 && !verify)
    throw new UsageError(`kv can't use "${positionals.join(" ")}": it takes a name, or verify and a name`);
  const text = (flag: string): string | undefined => {
    const value = values[flag];
    return typeof value === "string" ? value : undefined;
  };
  return {
    verb: first,
    name: positionals[verify ? 1 : 0],
    format: parseFormat(text("output") ?? "table"),
    kubeconfig: text("kubeconfig"),
    context: text("context"),
    namespace: text("namespace"),
    allNamespaces: values["all-namespaces"] === true,
    filename: text("filename"),
    nodesFile: text("nodes"),
    traffic: { tracePath: text("trace"), accelerator: text("accelerator") },
    resource: text("resource") ?? "nvidia.com/gpu",
    level: text("level"),
    verify,
    replay: values["replay"] === true,
    dryRun: values["dry-run"] === true,
  };
}

type Flags = NonNullable<ParseArgsConfig["options"]>;

function parseFlags(verb: Verb, args: readonly string[]) {
  const options: Flags = shapes[verb].options;
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseFormat(text: string): Format {
  const found = formats.find((format) => format === text);
  if (found === undefined) throw new UsageError(`-o must be one of ${formats.join(", ")}, not "${text}"`);
  return found;
}

function isVerb(word: string | undefined): word is Verb {
  return verbs.some((verb) => verb === word);
}
