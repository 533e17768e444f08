/** A real redis-server for a test: on a unix socket in a folder of its own, without persistence. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "node:net";
import { Redis } from "ioredis";

export interface RedisServer {
  /** Path of the unix socket; takes the place of a URL. */
  readonly socket: string;
  /** Removed by `dispose`. */
  readonly folder: string;
  /** Answer to a command, for example one that changes its settings. */
  ask(command: string, ...words: string[]): Promise<unknown>;
  pause(): void;
  resume(): void;
  /** Starts it again after `stop`, empty, on the same socket. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Stops it and removes its folder. */
  dispose(): Promise<void>;
}

const startWithinMs = 60_000;

/** A Sentinel is a redis-server too; it rewrites its configuration file. */
export interface ServerFile {
  readonly config: string;
  readonly sentinel: boolean;
}

/** `prepare` may put files into the server's folder, and returns further options. */
export async function startRedisServer(
  options: readonly string[] = [],
  prepare: (folder: string) => Promise<readonly string[]> = () => Promise.resolve([]),
  file?: ServerFile,
): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), "csps-redis-"));
  const prepared = await prepare(folder);
  const socket = join(folder, "s");
  let child: ReturnType<typeof spawn> | undefined;

  async function start(): Promise<void> {
    const place = ["--port", "0", "--unixsocket", socket, "--dir", folder];
    const first = file === undefined ? [] : [file.config, ...(file.sentinel ? ["--sentinel"] : [])];
    const memory = file?.sentinel === true ? [] : ["--save", "", "--appendonly", "no"];
    const flags = [...first, ...place, ...memory, ...prepared, ...options];
    const started = spawn("redis-server", flags, { stdio: "ignore" });
    child = started;
    let failed: Error | undefined;
    started.once("error", (error) => (failed = error));
    started.once("exit", (code) => (failed ??= new Error(`redis-server exited with ${String(code)}`)));
    const deadline = Date.now() + startWithinMs;
    while (!(await accepts(socket))) {
      if (failed !== undefined) throw failed;
      if (Date.now() > deadline) throw new Error("redis-server did not start in time");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function stop(): Promise<void> {
    const stopped = child;
    child = undefined;
    if (stopped?.exitCode !== null || stopped.signalCode !== null) return;
    const exited = new Promise((resolve) => stopped.once("exit", resolve));
    stopped.kill("SIGKILL");
    await exited;
  }

  await start();
  return {
    socket,
    folder,
    async ask(command, ...words) {
      const admin = new Redis(socket);
      try {
        return await admin.call(command, ...words);
      } finally {
        admin.disconnect();
      }
    },
    pause: () => child?.kill("SIGSTOP"),
    resume: () => child?.kill("SIGCONT"),
    start,
    stop,
    async dispose() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function accepts(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(socket);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => {
      resolve(false);
    });
  });
}
