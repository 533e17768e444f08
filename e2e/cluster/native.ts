/**
 * A Kubernetes control plane as plain processes on loopback: etcd, kube-apiserver and, when asked for,
 * kube-controller-manager and kube-scheduler. No containers, no kubelet, about 4 s to ready: the place for
 * tests of controllers against a real API server. Several may run at once.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { closeSync, openSync, rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBinaries } from "./binaries.ts";
import { run, succeeds } from "./command.ts";
import { freePort } from "./freePort.ts";

export interface ControlPlane {
  /** Kubeconfig of a user with all rights. */
  readonly kubeconfigPath: string;
  /** Standard output of kubectl; `input` goes to its standard input (for `apply -f -`). */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** Kills the processes and removes their data. May be called more than once. */
  stop(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** Also run kube-controller-manager and kube-scheduler. Default true. */
  controllers?: boolean;
  /**
   * Folder of CRDs that are established before the controllers start: the garbage collector looks for new kinds only
   * every 30 s, and until then lets nothing go that an object of theirs owns.
   */
  crds?: string;
}

interface Member {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logFile: string;
}

const READY_DEADLINE_MS = 120_000;
const START_ATTEMPTS = 3;

function kubeconfig(port: number, token: string, folder: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "native",
        // The API server signs its own certificate into its folder; the file ends with the signer's.
        cluster: {
          server: `https://127.0.0.1:${port}`,
          "certificate-authority": join(folder, "apiserver.crt"),
        },
      },
    ],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "native", context: { cluster: "native", user: "admin" } }],
    "current-context": "native",
  });
}

/** One start on fresh ports. A port may be taken between choosing and using it: the caller tries again. */
class Launch {
  readonly folder: string;
  private readonly binaries: string;
  private readonly members: Member[] = [];
  private stopped = false;
  private readonly onExit = (): void => {
    for (const member of this.members) member.child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  };

  constructor(folder: string, binaries: string) {
    this.folder = folder;
    this.binaries = binaries;
    process.once("exit", this.onExit);
  }

  /**
   * Starts one program. `setpriv --pdeathsig` has the kernel kill it when this process dies in whatever way,
   * so that a killed test leaves nothing running.
   */
  start(name: string, args: readonly string[]): void {
    const logFile = join(this.folder, `${name}.log`);
    const output = openSync(logFile, "a");
    const child = spawn("setpriv", ["--pdeathsig", "KILL", join(this.binaries, name), ...args], {
      cwd: this.folder,
      stdio: ["ignore", output, output],
    });
    closeSync(output);
    child.on("error", () => undefined);
    child.unref();
    this.members.push({ name, child, logFile });
  }

  async until(what: string, isReady: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (!(await isReady())) {
      const dead = this.members.find(
        (member) => member.child.exitCode !== null || member.child.signalCode !== null,
      );
      if (dead !== undefined) throw new Error(`${dead.name} ended: ${await this.tail(dead)}`);
      if (Date.now() > deadline) {
        const tails = await Promise.all(
          this.members.map(async (member) => `${member.name}: ${await this.tail(member)}`),
        );
        throw new Error(`${what} not ready within ${READY_DEADLINE_MS / 1000} s\n${tails.join("\n")}`);
      }
      await sleep(100);
    }
  }

  private async tail(member: Member): Promise<string> {
    return (await readFile(member.logFile, "utf8").catch(() => "")).slice(-1_500);
  }

  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    process.off("exit", this.onExit);
    await Promise.all(
      this.members.map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
        child.ref();
        const ended = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await ended;
      }),
    );
    await rm(this.folder, { recursive: true, force: true });
  }
}

function serviceAccountKey(): string {
  return generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ type: "sec1", format: "pem" })
    .toString();
}

async function launch(
  binaries: string,
  { controllers = true, crds }: ControlPlaneOptions,
): Promise<ControlPlane> {
  const folder = await mkdtemp(join(tmpdir(), "csps-control-plane-"));
  const [client, peer, api] = [await freePort(), await freePort(), await freePort()];
  const [manager, scheduler] = [await freePort(), await freePort()];
  const token = randomBytes(16).toString("hex");
  const kubeconfigPath = join(folder, "kubeconfig");
  const keyPath = join(folder, "service-account.key");
  await writeFile(join(folder, "tokens.csv"), `${token},admin,admin,"system:masters"\n`, { mode: 0o600 });
  await writeFile(keyPath, serviceAccountKey(), { mode: 0o600 });
  await writeFile(kubeconfigPath, kubeconfig(api, token, folder), { mode: 0o600 });
  const kubectl = (args: readonly string[], input?: string): Promise<string> =>
    run(join(binaries, "kubectl"), ["--kubeconfig", kubeconfigPath, ...args], {
      timeoutMs: 120_000,
      ...(input === undefined ? {} : { input }),
    });
  const works = (args: readonly string[]): Promise<boolean> =>
    succeeds(join(binaries, "kubectl"), ["--kubeconfig", kubeconfigPath, "--request-timeout", "5s", ...args]);

  const started = new Launch(folder, binaries);
  try {
    started.start("etcd", [
      ...["--data-dir", join(folder, "etcd"), "--unsafe-no-fsync", "--log-level", "error"],
      ...[
        "--listen-client-urls",
        `http://127.0.0.1:${client}`,
        "--advertise-client-urls",
        `http://127.0.0.1:${client}`,
      ],
      ...["--listen-peer-urls", `http://127.0.0.1:${peer}`],
    ]);
    started.start("kube-apiserver", [
      ...[
        "--etcd-servers",
        `http://127.0.0.1:${client}`,
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        String(api),
      ],
      ...[
        "--cert-dir",
        folder,
        "--token-auth-file",
        join(folder, "tokens.csv"),
        "--authorization-mode",
        "Node,RBAC",
      ],
      ...[
        "--service-account-issuer",
        "https://kubernetes.default.svc",
        "--service-account-key-file",
        keyPath,
      ],
      ...["--service-account-signing-key-file", keyPath, "--service-cluster-ip-range", "10.96.0.0/16"],
      ...["--endpoint-reconciler-type", "none"],
      // Without the controllers nobody makes the ServiceAccounts that this plugin asks every pod to have.
      ...(controllers ? [] : ["--disable-admission-plugins", "ServiceAccount"]),
    ]);
    await started.until("kube-apiserver", () => works(["get", "--raw", "/readyz"]));
    if (crds !== undefined) {
      await kubectl(["apply", "--server-side", "-f", crds]);
      await kubectl(["wait", "--for=condition=Established", "--timeout=110s", "crd", "--all"]);
    }
    if (controllers) {
      const common = ["--kubeconfig", kubeconfigPath, "--leader-elect=false", "--bind-address", "127.0.0.1"];
      started.start("kube-controller-manager", [
        ...[...common, "--cert-dir", join(folder, "manager"), "--secure-port", String(manager)],
        ...["--service-account-private-key-file", keyPath, "--use-service-account-credentials"],
        ...["--kube-api-qps", "200", "--kube-api-burst", "400"],
        // A test's nodes are objects without a kubelet: their Ready condition counts though nobody renews it.
        ...["--node-monitor-grace-period", "1h", "--node-startup-grace-period", "1h"],
        ...["--horizontal-pod-autoscaler-sync-period", "1s"],
      ]);
      started.start("kube-scheduler", [
        ...[...common, "--cert-dir", join(folder, "scheduler"), "--secure-port", String(scheduler)],
        ...["--kube-api-qps", "500", "--kube-api-burst", "1000"],
      ]);
      await started.until("kube-controller-manager", () =>
        works(["-n", "default", "get", "serviceaccount", "default"]),
      );
    }
  } catch (error) {
    await started.stop();
    throw error;
  }
  return { kubeconfigPath, kubectl, stop: () => started.stop() };
}

/** Starts a control plane and returns when it is ready. Builds the programs on first use (minutes, once). */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const binaries = await ensureBinaries();
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(binaries, options);
    } catch (error) {
      const portTaken = error instanceof Error && error.message.includes("address already in use");
      if (!portTaken || attempt === START_ATTEMPTS) throw error;
    }
  }
}
