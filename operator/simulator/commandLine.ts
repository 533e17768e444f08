/** What benches do with a command line: help is printed, and what is wrong with it told in a sentence with exit code 2. */
import { parseArgs, type ParseArgsConfig } from "node:util";

type Parsed<Config extends ParseArgsConfig> = ReturnType<typeof parseArgs<Config>>;

/**
 * What was given, or undefined when the usage was printed instead: it was asked for, or the line has a flag that there is
 * not. @throws never for what a user gave.
 */
export function givenTo<const Config extends ParseArgsConfig>(
  usage: string,
  config: Config,
  args: readonly string[] = process.argv.slice(2),
): Parsed<Config> | undefined {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(usage);
    return undefined;
  }
  try {
    return parseArgs({ ...config, args: [...args] }) as Parsed<Config>;
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error), usage);
    return undefined;
  }
}

export function refuse(sentence: string, usage: string): void {
  console.error(`${sentence}\n${usage}`);
  process.exitCode = 2;
}
