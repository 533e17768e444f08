/**
 * One stage of the test suite: a command whose outcome is a count of passed, failed and skipped checks. Output
 * streams through as it comes, so that a long stage shows its progress; a stage past its deadline is killed
 * with its whole process group and counts as failed.
 */
import { spawn } from "node:child_process";

export interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Command {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** It gets what time of the cores others leave. */
  readonly yields?: boolean;
  readonly deadlineMs: number;
}

export interface Stage {
  readonly name: string;
  readonly needs: string;
  /** It computes and waits for nothing, so that it may run beside other stages, for as long as they leave time. */
  readonly beside?: boolean;
  /** Runs the stage; a thrown error is one failed check. */
  run(): Promise<Count>;
}

export const NONE: Count = { passed: 0, failed: 0, skipped: 0 };

export function add(a: Count, b: Count): Count {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** Exit status of the command; 124 when it ran past its deadline, as coreutils' timeout does. */
export async function execute(command: Command): Promise<number> {
  const [file, ...args] = command.yields === true ? ["nice", "-n", "19", ...command.argv] : command.argv;
  if (file === undefined) throw new Error("a command needs at least the program's name");
  const child = spawn(file, args, {
    cwd: command.cwd,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...command.env },
    detached: true,
  });
  return await new Promise<number>((resolve, reject) => {
    let late = false;
    const killGroup = (): void => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
    };
    const timer = setTimeout(() => {
      late = true;
      killGroup();
    }, command.deadlineMs);
    process.once("exit", killGroup);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      process.removeListener("exit", killGroup);
      resolve(late ? 124 : (code ?? 1));
    });
  });
}

/** A command that passes or fails as one check, and runs beside other stages. */
export function check(name: string, needs: string, command: Command): Stage {
  return {
    name,
    needs,
    beside: true,
    run: async () =>
      (await execute({ ...command, yields: true })) === 0 ? { ...NONE, passed: 1 } : { ...NONE, failed: 1 },
  };
}
