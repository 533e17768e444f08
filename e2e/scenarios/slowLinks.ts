/** Slow links between ranks that compute a prompt together, where the kernel has no shaper: what is too much is dropped. */
import { run } from "../cluster/command.ts";
import { nodes } from "./world.ts";

const MINUTE = 60_000;
/** Ranks exchange over ports that the kernel gives out; every port that is listened on by name is below. */
const EPHEMERAL = "32768:";

/** From now on, for groups that form from now on, in each direction of each pair of pods; returns what ends it. */
export async function slowLinks(kilobytesPerSecond: number): Promise<() => Promise<void>> {
  const rate = kilobytesPerSecond;
  const rule = [
    ...["FORWARD", "--protocol", "tcp", "--sport", EPHEMERAL, "--dport", EPHEMERAL],
    ...["--match", "hashlimit", "--hashlimit-name", "slow-links", "--hashlimit-mode", "srcip,dstip"],
    ...["--hashlimit-above", `${rate}kb/s`, "--hashlimit-burst", `${rate + 100}kb`, "--jump", "DROP"],
  ];
  const everywhere = async (action: string): Promise<void> => {
    const names = [...(await nodes()).keys()];
    const command = ["iptables", "--wait", action, ...rule];
    await Promise.all(names.map((name) => run("docker", ["exec", name, ...command], { timeoutMs: MINUTE })));
  };
  await everywhere("--insert");
  return () => everywhere("--delete");
}
