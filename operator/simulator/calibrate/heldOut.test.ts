import { describe, expect, it } from "vitest";
import { means, near, type Comparison } from "./heldOut.ts";
import type { RecordedRequest } from "./recordedRun.ts";

const request = (ttftSeconds: number, tpotSeconds: number): RecordedRequest => ({
  arrivalSeconds: 0,
  inputTokens: 1,
  outputTokens: 2,
  ttftSeconds,
  tpotSeconds,
});

function compared(ttftSeconds: number, tpotSeconds: number): Comparison {
  const heldOut = means([request(1, 1)], [request(ttftSeconds, tpotSeconds)]);
  const rates = { flops: 1, weightBytesPerSecond: 1, scanBytesPerSecond: 1, layerSeconds: 1 };
  return { run: "r", requests: 2, rates, fitted: [], heldOut };
}

describe("a recorded run beside the simulator", () => {
  it("has the error of the means, and those of single requests beside it", () => {
    const [ttft] = means([request(1, 1), request(3, 1)], [request(2, 1), request(2, 1)]);
    expect(ttft).toMatchObject({ what: "TTFT", recordedSeconds: 2, simulatedSeconds: 2, error: 0 });
    expect(ttft?.p90Error).toBe(1);
  });

  it.each([
    ["both means are within 8 %", 1.079, 0.921, true],
    ["the time to the first token is too long", 1.081, 1, false],
    ["the time of a token is too short", 1, 0.919, false],
    ["nothing was answered", Number.NaN, 1, false],
  ])("is near enough or not: %s", (_, ttft, tpot, expected) => {
    expect(near([compared(1, 1), compared(ttft, tpot)])).toBe(expected);
  });
});
