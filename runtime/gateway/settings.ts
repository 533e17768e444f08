/** The gateway's settings from its environment, with a sentence for each that is wrong. */
import { existsSync } from "node:fs";
import { z } from "zod";
import { parseLengthClasses } from "./demand/lengthClass.ts";

const port = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .transform((text) => Number(text))
    .refine((value) => Number.isInteger(value) && value >= 0 && value < 65536, {
      error: "has to be a TCP port",
    });

const lengthClasses = z
  .string()
  .default("")
  .transform((text, context) => {
    const classes = parseLengthClasses(text);
    if (classes !== undefined) return classes;
    context.addIssue("has to be like short:4096,long:65536, ascending");
    return z.NEVER;
  });

const milliseconds = z
  .string()
  .default("0")
  .transform((text) => Number(text))
  .refine((value) => Number.isInteger(value) && value >= 0, { error: "has to be a whole number, 0 or more" });

const amount = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .transform((text) => Number(text))
    .refine((value) => Number.isInteger(value) && value > 0, { error: "has to be a whole number above 0" });

const required = z.string({ error: "is required" }).min(1, { error: "is required" });

const environment = z.object({
  CSPS_NAMESPACE: required,
  CSPS_DEPLOYMENT: required,
  CSPS_MODEL_NAME: required,
  CSPS_PORT: port(8000),
  CSPS_RANKS_HOST: required,
  CSPS_CONTROL_PORT: port(9000),
  CSPS_CONTROL_TOKEN_FILE: required.refine((path) => existsSync(path), {
    error: "names a file that is not there",
  }),
  CSPS_REDIS_URL_FILE: z.string().default(""),
  CSPS_API_KEYS_DIR: z.string().default(""),
  CSPS_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
  CSPS_MAX_BODY_BYTES: amount(32 * 1024 * 1024),
  CSPS_GRACE_MS: amount(25_000),
  CSPS_LENGTH_CLASSES: lengthClasses,
  CSPS_WAKE_MS: milliseconds,
  CSPS_WAKE_MAX_WAITING: amount(256),
});

export type Settings = z.infer<typeof environment>;

/** Throws an error whose message has one line for each variable that is wrong. */
export function readSettings(env: Readonly<Record<string, string | undefined>>): Settings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const result = environment.safeParse(given);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `${issue.path.map(String).join(".")} ${issue.message}`);
  throw new Error(lines.join("\n"));
}

export const help = `gateway: OpenAI-compatible endpoint of one CSPSDeployment

Takes no arguments; reads its environment:
  CSPS_NAMESPACE           namespace of the deployment (required)
  CSPS_DEPLOYMENT          name of the deployment (required)
  CSPS_MODEL_NAME          name that clients ask for (required)
  CSPS_RANKS_HOST          name that resolves to every rank's address, or address:port,... (required)
  CSPS_CONTROL_TOKEN_FILE  file with the bearer token of the ranks' control API (required)
  CSPS_PORT                port to serve on; 0 for a free one (8000)
  CSPS_CONTROL_PORT        port of the ranks' control API (9000)
  CSPS_REDIS_URL_FILE      file with the URL of Redis; empty or absent: none
  CSPS_API_KEYS_DIR        folder whose files each hold an accepted API key; empty: no key is asked for
  CSPS_MAX_BODY_BYTES      largest request body (33554432)
  CSPS_GRACE_MS            how long streams may go on after SIGTERM (25000)
  CSPS_LENGTH_CLASSES      length classes of prompts, as short:4096:2000,long:65536:5000: name, most tokens and,
                           where there is one, the objective in ms until the first token; empty: one class without
  CSPS_WAKE_MS             how long a request waits for ranks of a deployment scaled to zero; 0: not at all (0)
  CSPS_WAKE_MAX_WAITING    requests that wait so at once; more are refused (256)
  CSPS_LOG_LEVEL           debug, info, warn or error (info)
`;
