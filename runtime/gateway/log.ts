/** JSON lines on standard output. Prompts, answers and keys are never logged. */
import winston from "winston";

type Say = (message: string, detail?: Record<string, unknown>) => void;

export interface Log {
  readonly debug: Say;
  readonly info: Say;
  readonly warn: Say;
  readonly error: Say;
}

export function createLog(level: "debug" | "info" | "warn" | "error"): Log {
  // winston's types describe its own transports by interfaces that do not extend the class that is asked for.
  const output: unknown = new winston.transports.Stream({ stream: process.stdout });
  const logger = winston.createLogger({
    level,
    format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
    transports: [output as winston.transport],
  });
  return {
    debug: (message, detail) => void logger.debug(message, detail),
    info: (message, detail) => void logger.info(message, detail),
    warn: (message, detail) => void logger.warn(message, detail),
    error: (message, detail) => void logger.error(message, detail),
  };
}

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
