/** Runs programs: every run has a deadline, and a failure says what ran and what it printed last. */
import { spawn } from "node:child_process";
import { closeSync, createWriteStream, openSync } from "node:fs";

export interface RunOptions {
  cwd?: string;
  /** Added to the present environment. */
  env?: Record<string, string>;
  /** Written to standard input, which is otherwise closed. */
  input?: string | Uint8Array;
  /** File that becomes standard input. */
  inputFile?: string;
  timeoutMs?: number;
  /** File to which both output streams are appended. */
  logFile?: string;
  /** Receives standard error as it comes. */
  onStderr?: (text: string) => void;
  /** Show the program's output as it comes. */
  inherit?: boolean;
}

/** A program ended with an error, or did not end in time. */
export class CommandError extends Error {
  readonly output: string;
  readonly exitCode: number | undefined;

  constructor(line: string, reason: string, output: string, exitCode?: number) {
    super(`${line}: ${reason}${output === "" ? "" : `\n${output}`}`);
    this.name = "CommandError";
    this.output = output;
    this.exitCode = exitCode;
  }
}

const TAIL_CHARACTERS = 4_000;
const DEFAULT_TIMEOUT_MS = 600_000;

/** Standard output of `command args…`, when it ends with status 0. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const line = [command, ...args].join(" ").slice(0, 300);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    const input = options.inputFile === undefined ? undefined : openSync(options.inputFile, "r");
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      // Without input not a closed pipe: bash takes a socket on standard input for a remote shell's.
      stdio: [
        input ?? (options.input === undefined ? "ignore" : "pipe"),
        options.inherit ? "inherit" : "pipe",
        options.inherit ? "inherit" : "pipe",
      ],
    });
    if (input !== undefined) closeSync(input);
    const log =
      options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: "a" });
    const stdout: Buffer[] = [];
    let tail = "";
    const keep = (chunk: Buffer): void => {
      tail = (tail + chunk.toString()).slice(-TAIL_CHARACTERS);
      log?.write(chunk);
    };
    child.stdout?.on("data", (chunk: Buffer) => {
      stdout.push(chunk);
      keep(chunk);
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      options.onStderr?.(chunk.toString());
      keep(chunk);
    });
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      log?.end();
      act();
    };
    child.on("error", (error) => {
      settle(() => {
        reject(new CommandError(line, error.message, tail));
      });
    });
    child.on("close", (code, signal) => {
      settle(() => {
        if (timedOut) reject(new CommandError(line, `did not end within ${timeoutMs / 1000} s`, tail));
        else if (code === 0) resolve(Buffer.concat(stdout).toString());
        else
          reject(
            new CommandError(line, signal === null ? `exit status ${code}` : signal, tail, code ?? undefined),
          );
      });
    });
    // A program that ends without reading its input is no error by itself: its exit status tells.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input);
  });
}

/** Whether `command args…` ends with status 0. */
export async function succeeds(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<boolean> {
  return run(command, args, options).then(
    () => true,
    () => false,
  );
}
