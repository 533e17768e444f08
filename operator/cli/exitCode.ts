/** What the process ends with, and the errors that lead there. */
export const exitCode = { done: 0, failed: 1, usage: 2, doesNotFit: 3, differs: 4, misses: 5 } as const;

/** The command line makes no sense as it stands; the message says what to change. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** A file makes no sense as it stands; the message names field, value and rule. */
export class FileError extends UsageError {
  override readonly name = "FileError";
}

/** What was asked for is not there, or can't be asked for. */
export class CliError extends Error {
  override readonly name = "CliError";
}
