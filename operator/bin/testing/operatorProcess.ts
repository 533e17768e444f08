/** The operator as a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { freePort } from "../../../e2e/cluster/freePort.ts";

const entry = join(import.meta.dirname, "..", "operator.ts");
const endDeadlineMs = 80_000;

export interface OperatorProcess {
  readonly metricsPort: number;
  readonly healthPort: number;
  /** Sends the signal; resolves with the exit status. */
  stop(signal: NodeJS.Signals): Promise<number | null>;
}

export async function spawnOperator(kubeconfig: string): Promise<OperatorProcess> {
  const [metricsPort, healthPort] = [await freePort(), await freePort()];
  const ports = ["--metrics-port", String(metricsPort), "--health-port", String(healthPort)];
  const args = [entry, "--kubeconfig", kubeconfig, "--log-level", "error", ...ports];
  const env = { ...process.env, CSPS_OPERATOR_NAMESPACE: "csps-system" };
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"], env });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const stop = async (signal: NodeJS.Signals): Promise<number | null> => {
    const timer = setTimeout(() => child.kill("SIGKILL"), endDeadlineMs);
    child.kill(signal);
    const code = await ended;
    clearTimeout(timer);
    return code;
  };
  return { metricsPort, healthPort, stop };
}

/** Runs it to its end. */
export function runOperator(
  args: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [entry, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), endDeadlineMs);
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}
