/** A port of this machine that leads to a Service or a pod of the cluster. */
import { spawn } from "node:child_process";
import type { Cluster } from "../cluster/cluster.ts";

export interface Forward {
  /** `http://127.0.0.1:<port>` */
  url: string;
  close: () => void;
}

const DEADLINE_MS = 30_000;

/** Forwards a free port on 127.0.0.1 to a port of `service/<name>` or `pod/<name>` by way of the API server. */
export function forward(cluster: Cluster, namespace: string, target: string, port: number): Promise<Forward> {
  const context = cluster.context === undefined ? [] : ["--context", cluster.context];
  const access = ["--kubeconfig", cluster.kubeconfigPath, ...context, "-n", namespace];
  const args = [...access, "port-forward", "--address", "127.0.0.1", target, `:${port}`];
  const child = spawn(cluster.kubectlPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const close = (): void => {
    process.off("exit", close);
    child.kill("SIGKILL");
  };
  process.once("exit", close);
  return new Promise((resolve, reject) => {
    let output = "";
    const timer = setTimeout(() => {
      close();
      reject(new Error(`port-forward to ${target} not ready within ${DEADLINE_MS / 1000} s: ${output}`));
    }, DEADLINE_MS);
    const read = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-2_000);
      const local = /Forwarding from 127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      if (local === undefined) return;
      clearTimeout(timer);
      resolve({ url: `http://127.0.0.1:${local}`, close });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", reject);
    child.once("exit", () => {
      clearTimeout(timer);
      reject(new Error(`port-forward to ${target} ended: ${output}`));
    });
  });
}
