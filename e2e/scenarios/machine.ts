/** How fast this machine is, for limits on CPU time: they were set on another. */

/** CPU time of `aRound` on the machine that the limits were set on, when nothing else ran there. */
const USUAL_MS = 110;
const ROUNDS = 9;

const sample = JSON.stringify(
  Array.from({ length: 200 }, (_, index) => ({
    metadata: { name: `pod-${index}`, labels: { role: "prefill", ordinal: String(index) } },
    status: { phase: "Running", ready: index % 2 === 0, ranks: [index, index + 1, index + 2] },
  })),
);

/** What an operator does most: text becomes objects, and those become text. */
function aRound(): void {
  for (let turn = 0; turn < 200; turn += 1) {
    const objects = JSON.parse(sample) as { metadata: { name: string } }[];
    if (JSON.stringify(objects).length !== sample.length) throw new Error("JSON is not what it was");
  }
}

/** CPU time that Node takes here for the same work as there; above 1 this machine is slower, or others share its cores. */
export function slownessOfNode(): number {
  const times = Array.from({ length: ROUNDS }, () => {
    const before = process.cpuUsage();
    aRound();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return (times.toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? USUAL_MS) / USUAL_MS;
}
