/** Reaches into a cluster: a port of a pod, by `kubectl port-forward`, whose rights and ways are the user's own. */
import { spawn } from "node:child_process";
import { CliError } from "./exitCode.ts";

export interface ClusterAccess {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
}

export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
  /** IP of the pod inside the cluster. */
  readonly address: string;
}

export interface Reached {
  readonly host: string;
  readonly port: number;
  readonly close: () => void;
}

const deadlineMs = 20_000;

/** Throws CliError with what kubectl says when the port can't be reached. */
export function forwardPort(access: ClusterAccess, { namespace, pod, port }: PodPort): Promise<Reached> {
  const flag = (name: string, value: string | undefined): string[] =>
    value === undefined ? [] : [name, value];
  const where = [...flag("--kubeconfig", access.kubeconfig), ...flag("--context", access.context)];
  const what = ["-n", namespace, "port-forward", "--address", "127.0.0.1", `pod/${pod}`, `:${String(port)}`];
  const child = spawn("kubectl", [...where, ...what], { stdio: ["ignore", "pipe", "pipe"] });
  const close = (): void => {
    process.off("exit", close);
    child.kill("SIGKILL");
  };
  process.once("exit", close);
  return new Promise((resolve, reject) => {
    let output = "";
    const fail = (why: string): void => {
      clearTimeout(timer);
      close();
      reject(new CliError(`pod ${pod} can't be reached by kubectl port-forward: ${why}`));
    };
    const timer = setTimeout(() => {
      fail(`no answer within ${String(deadlineMs / 1000)} s`);
    }, deadlineMs);
    const read = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-2_000);
      const local = /Forwarding from 127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      if (local === undefined) return;
      clearTimeout(timer);
      resolve({ host: "127.0.0.1", port: Number(local), close });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", (error) => {
      fail(error.message);
    });
    child.once("exit", () => {
      fail(output.trim());
    });
  });
}
