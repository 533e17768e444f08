/** The operator's degree table as the gateway keeps it: read now and then, and void when it has not been read for long. */
import type { ClusterState } from "../../state/clusterState.ts";
import type { DegreeTable } from "../../state/domain.ts";

export interface Degrees {
  /** Ranks that should compute a prompt of so many tokens; undefined when nothing is known. */
  wanted(promptTokens: number): number | undefined;
  /** Whether such a prompt has to be computed exactly. */
  exact(promptTokens: number): boolean;
  start(): void;
  stop(): void;
  /** One reading; for tests and the first one. */
  read(): Promise<void>;
}

const everyMs = 5_000;

export function degreeWanted(table: DegreeTable, promptTokens: number): number | undefined {
  const degree = entryOf(table, promptTokens)?.degree;
  return degree === 0 ? undefined : degree;
}

export function exactWanted(table: DegreeTable, promptTokens: number): boolean {
  return entryOf(table, promptTokens)?.attention === "dense";
}

function entryOf(table: DegreeTable, promptTokens: number): DegreeTable[number] | undefined {
  return table.find(({ upToTokens }) => promptTokens <= upToTokens) ?? table.at(-1);
}

export function createDegrees(clusterState: Pick<ClusterState, "readDegrees"> | undefined): Degrees {
  let table: DegreeTable = [];
  let timer: NodeJS.Timeout | undefined;
  async function read(): Promise<void> {
    const answer = await clusterState?.readDegrees();
    // While Redis is away the last table is the best guess: groups don't change with it.
    if (answer?.ok === true) table = answer.value ?? [];
  }
  return {
    wanted: (promptTokens) => degreeWanted(table, promptTokens),
    exact: (promptTokens) => exactWanted(table, promptTokens),
    read,
    start() {
      void read();
      timer = setInterval(() => void read(), everyMs);
    },
    stop() {
      clearInterval(timer);
    },
  };
}
