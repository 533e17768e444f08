/** kubectl-csps as a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";

const entry = join(import.meta.dirname, "..", "kubectl-csps.ts");
const deadlineMs = 80_000;

export interface CliAnswer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runCliProcess(args: readonly string[], input = ""): Promise<CliAnswer> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [entry, ...args], { stdio: ["pipe", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}
