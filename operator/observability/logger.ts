/** JSON logs, one line an entry, on standard output. */
import winston from "winston";
import { redact } from "./redaction.ts";

export type Logger = winston.Logger;
export type LogLevel = "debug" | "info" | "warn" | "error";

export interface LoggerOptions {
  /** Default: info. */
  readonly level?: LogLevel | undefined;
  /** Fields of every entry. */
  readonly fields?: Readonly<Record<string, unknown>> | undefined;
  /** Default: standard output. */
  readonly stream?: NodeJS.WritableStream | undefined;
}

/** What a child logger adds to each of its entries. */
export interface LogContext {
  readonly controller?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly [field: string]: unknown;
}

/** `logger.child({ controller, namespace, name })` makes the logger of one reconcile. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const hideSecrets = winston.format((entry) => {
    for (const [field, value] of Object.entries(entry)) entry[field] = redact(field, value);
    return entry;
  });
  const logger = winston.createLogger({
    level: options.level ?? "info",
    defaultMeta: { ...options.fields },
    format: winston.format.combine(winston.format.timestamp(), hideSecrets(), winston.format.json()),
  });
  // winston's types describe its own transports by interfaces that do not extend the class that `add` asks for.
  const transport: unknown = new winston.transports.Stream({ stream: options.stream ?? process.stdout });
  return logger.add(transport as winston.transport);
}
