/** kubectl-csps in the test's own process. Ports of pods are reached where the pods are: on this machine. */
import { runCli } from "../../cli/program.ts";
import type { CliAnswer } from "./cliProcess.ts";

const unused = (): never => {
  throw new Error("This verb was not to plan anything");
};

export async function runCliHere(args: readonly string[]): Promise<CliAnswer> {
  let [stdout, stderr] = ["", ""];
  const code = await runCli(args, {
    write: (text) => (stdout += text),
    writeError: (text) => (stderr += text),
    colour: false,
    nowMs: Date.now,
    readFile: unused,
    reach: (_, { address, port }) => Promise.resolve({ host: address, port, close: () => undefined }),
    designGangs: unused,
    predict: unused,
  });
  return { code, stdout, stderr };
}
