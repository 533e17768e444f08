/** JSON lines on standard output. Prompts, answers and keys are never logged. */
import { createLogger, format, transports } from "winston";

export interface Log {
  debug(message: string, detail?: Record<string, unknown>): void;
  info(message: string, detail?: Record<string, unknown>): void;
  warn(message: string, detail?: Record<string, unknown>): void;
  error(message: string, detail?: Record<string, unknown>): void;
}

export function createLog(level: "debug" | "info" | "warn" | "error"): Log {
  const logger = createLogger({
    level,
    format: format.combine(format.timestamp(), format.json()),
    transports: [new transports.Console()],
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
