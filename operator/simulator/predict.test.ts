import { describe, expect, it } from "vitest";
import { cspsDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import { knownModelNames, shapeNamed } from "./knownModels.ts";
import { acceleratorNamed, predict, type Prediction } from "./predict.ts";
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

function predicted(spec: ReturnType<typeof specOf>): Prediction {
  const found = predict(spec, trace, "h100");
  if ("unpredicted" in found) throw new Error(found.unpredicted);
  return found;
}

describe("predicting a deployment under a trace", () => {
  it("tells the tails and the GPU-hours of the stated counts, with nothing to warn of", () => {
    const { ttftSeconds, gpuHours, attainment, warnings, scaled, size } = predicted(specOf());
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
    const stated = predicted(specOf());
    const found = predicted(specOf({ autoscaling }));
    expect(found.scaled).toBe(true);
    expect(found.gpuHours).not.toBe(stated.gpuHours);
  });

  it("warns of objectives that no degree reaches, with the best that there is", () => {
    const { warnings } = predicted(specOf({ slo: { ttftMs: 10, tbtMs: 50 } }));
    expect(warnings.join()).toMatch(/SLOInfeasible: .* class all under their TTFT; the best is \d+\.\d\d s/);
    expect(warnings.join()).toMatch(/% of the requests meet both objectives/);
  });

  it("warns of weights that do not fit", () => {
    const { warnings } = predicted(specOf({}, "Llama-3.1-70B"));
    expect(warnings).toContain("the weights of llama-70b do not fit 1 x H100 SXM 80GB");
  });

  it("tells that nothing is predicted of a model that is not known, with those that are", () => {
    const { unpredicted } = predict(specOf({}, "phi-3.8b"), trace, "h100") as { unpredicted: string };
    expect(unpredicted).toMatch(/^nothing is predicted, for no widths are known of model "phi-3.8b"/);
    for (const name of knownModelNames) expect(unpredicted).toContain(name);
  });

  it("warns of heads that are not those of the model that it reckons with", () => {
    const model = { ...specOf().model, attentionHeads: 40, keyValueHeads: 4 };
    expect(predicted(specOf({ model })).warnings).toEqual([
      "model.attentionHeads is 40, and llama-8b, which is reckoned with, has 32",
      "model.keyValueHeads is 4, and llama-8b, which is reckoned with, has 8",
    ]);
  });

  it("warns where a name tells the size alone, and where the engine is to run on CPUs", () => {
    const { warnings } = predicted(specOf({ engine: { backend: "cpu" } }, "my-8b"));
    expect(warnings).toEqual([
      'the name "my-8b" tells a size and no family: it is reckoned with the widths of llama-8b',
      'engine.backend is "cpu", and the times are those of an accelerator',
    ]);
  });

  it("knows an accelerator by a node's label, and names those that it knows", () => {
    expect(acceleratorNamed("NVIDIA-H200").gpu.name).toBe("H200 SXM 141GB");
    expect(() => acceleratorNamed("NVIDIA-A10")).toThrow("there are h100, h200");
  });
});

describe("a model's name", () => {
  it.each([
    ["meta-llama/Llama-3.1-8B-Instruct", "llama-8b", true],
    ["llama-3.3-70b-instruct", "llama-70b", true],
    ["qwen2.5-32b-instruct", "qwen2.5-32b", true],
    ["Qwen3-32B", "qwen3-32b", true],
    ["smollm2-135m-instruct", "smollm2-135m", true],
    ["8b", "llama-8b", false],
    ["my-70B-chat", "llama-70b", false],
  ])("%s is reckoned as %s", (name, shape, family) => {
    expect(shapeNamed(name)).toMatchObject({ shape: { name: shape }, family });
  });

  it.each(["phi-3.8b", "qwen-1.8b", "yi-48b", "mistral-7b-8bit", "llama-3.2-1b", "some-32b", "tiny", ""])(
    "%s tells no widths",
    (name) => {
      expect(shapeNamed(name)).toBeUndefined();
    },
  );
});
