/** `kv verify`: whether the index in Redis says of each request what the engines that hold it say. */
import type { ClusterState } from "../../../runtime/state/clusterState.ts";
import { CliError, exitCode } from "../exitCode.ts";
import { checkIndex } from "../indexCheck.ts";
import type { Report } from "../output/report.ts";
import { type Cell, table } from "../output/table.ts";
import type { PoolLook } from "../pool.ts";

export async function kvVerify(look: PoolLook, state: ClusterState): Promise<Report> {
  const before = await look.inventory();
  const maps = await state.listShards();
  if (!maps.ok) throw new CliError(`Redis does not answer: ${maps.message}`);
  const after = await look.inventory();
  const { compared, differences } = checkIndex(maps.value, { before, after });
  const same = differences.length === 0;
  return {
    data: { pool: after.group, compared, indexed: maps.value.length, differences },
    text: (paint) => {
      const counted = `${after.group}: ${String(compared)} requests compared`;
      if (same) return `${counted}; ${paint({ text: "the index agrees with the engines", tone: "good" })}.`;
      const rows = differences.map((one): Cell[] => [
        one.requestId,
        { text: one.kind, tone: "bad" },
        one.what,
      ]);
      const count = `${String(differences.length)} differ`;
      return `${counted}; ${paint({ text: count, tone: "bad" })}.\n${table(["REQUEST", "KIND", "WHAT"], rows, paint)}`;
    },
    exit: same ? exitCode.done : exitCode.differs,
  };
}
