import { describe, expect, it } from "vitest";
import { cspsDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import { acceleratorNamed, predict } from "./predict.ts";
import { synthesize } from "./traces/synthetic.ts";

const trace = synthesize({ requests: 300, requestsPerSecond: 1, medianInputTokens: 4_000, inputSigma: 0.5 });

function specOf(over: object = {}, name = "Llama-3.1-8B") {
  return cspsDeploymentSpec.parse({
    model: { name, source: { image: { reference: "m:1" } }, contextLength: 131_072, attentionHeads: 32 },
    prefill: { groups: 2, sequenceParallel: { degree: 2 } },
    decode: { ranks: 3 },
    slo: { ttftMs: 5_000, tbtMs: 50 },
    ...over,
  });
}

describe("predicting a deployment under a trace", () => {
  it("tells the tails and the GPU-hours of the stated counts, with nothing to warn of", () => {
    const { ttftSeconds, gpuHours, attainment, warnings, scaled, size } = predict(specOf(), trace, "h100");
    expect({ warnings, scaled, size }).toEqual({
      warnings: [],
      scaled: false,
      size: { groups: 2, groupSize: 2, decodeRanks: 3 },
    });
    expect(ttftSeconds.p50).toBeLessThan(ttftSeconds.p99);
    expect(attainment).toBeGreaterThan(0.99);
    const seconds = trace.requests.at(-1)?.arrivalSeconds ?? 0;
    expect(gpuHours).toBeGreaterThan((7 * seconds) / 3600);
    expect(gpuHours).toBeLessThan((7 * (seconds + 60)) / 3600);
  });

  it("lets the deployment's own autoscaler decide where it is enforced", () => {
    const autoscaling = { mode: "Enforce", groups: { min: 1, max: 4 }, decodeRanks: { min: 1, max: 6 } };
    const stated = predict(specOf(), trace, "h100");
    const found = predict(specOf({ autoscaling }), trace, "h100");
    expect(found.scaled).toBe(true);
    expect(found.gpuHours).not.toBe(stated.gpuHours);
  });

  it("warns of objectives that no degree reaches, with the best that there is", () => {
    const { warnings } = predict(specOf({ slo: { ttftMs: 10, tbtMs: 50 } }), trace, "h100");
    expect(warnings.join()).toMatch(/SLOInfeasible: .* class all under their TTFT; the best is \d+\.\d\d s/);
    expect(warnings.join()).toMatch(/% of the requests meet both objectives/);
  });

  it("warns of weights that do not fit", () => {
    const { warnings } = predict(specOf({}, "Llama-3.1-70B"), trace, "h100");
    expect(warnings).toContain("the weights of llama-70b do not fit 1 x H100 SXM 80GB");
  });

  it("knows an accelerator by a node's label, and names those that it knows", () => {
    expect(acceleratorNamed("NVIDIA-H200").gpu.name).toBe("H200 SXM 141GB");
    expect(() => acceleratorNamed("NVIDIA-A10")).toThrow("there are h100, h200");
    expect(() => predict(specOf({}, "tiny"), trace, "h100")).toThrow('no widths are known of model "tiny"');
  });
});
