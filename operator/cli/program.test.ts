import { describe, expect, it } from "vitest";
import { verbs } from "./commandLine.ts";
import { runCli } from "./program.ts";
import type { Surroundings } from "./surroundings.ts";

const times = { p50: 0.1, p90: 0.25, p99: 1 };
const prediction = {
  trace: "hour",
  requests: 10,
  scaled: false,
  ttftSeconds: times,
  tbtSeconds: times,
  attainment: 0.99,
  gpuHours: 3,
};

async function run(args: readonly string[], files: Readonly<Record<string, string>> = {}) {
  let [stdout, stderr] = ["", ""];
  const around: Surroundings = {
    write: (text) => (stdout += text),
    writeError: (text) => (stderr += text),
    colour: false,
    nowMs: () => 0,
    readFile: (path) =>
      path in files ? Promise.resolve(files[path] ?? "") : Promise.reject(new Error("no such file")),
    reach: () => Promise.reject(new Error("no cluster")),
    designGangs: () => ({ owner: { apiVersion: "", kind: "", name: "", uid: "" }, gangs: [] }),
    predict: (_deployment, tracePath, accelerator) => {
      if (!(tracePath in files)) throw new Error(`${tracePath}, line 1, field input_length: is missing`);
      if (files[tracePath] === "of a stranger") return { unpredicted: "no widths are known" };
      return {
        ...prediction,
        profile: accelerator,
        warnings: JSON.parse(files[tracePath] ?? "") as string[],
      };
    },
  };
  const code = await runCli(args, around);
  return { code, stdout, stderr };
}

describe("the command line", () => {
  it.each(verbs)("has a help page with examples for %s", async (verb) => {
    for (const args of [
      [verb, "--help"],
      [verb, "-h"],
      ["help", verb],
    ]) {
      const { code, stdout } = await run(args);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: kubectl csps ${verb}`);
      expect(stdout).toContain("Examples:\n  kubectl csps");
    }
  });

  it("lists every verb when asked for nothing in particular", async () => {
    const { code, stdout } = await run([]);
    expect(code).toBe(0);
    for (const verb of verbs) expect(stdout).toMatch(new RegExp(`^  ${verb} `, "m"));
  });

  it.each([
    [
      ["statsu"],
      'there is no verb "statsu"; the verbs are status, topology, explain, plan, kv, drain, rebalance',
    ],
    [["status", "a", "b"], 'status can\'t use "b"'],
    [["explain"], "explain needs the name of a CSPSDeployment"],
    [["drain"], "drain needs the name of a rank"],
    [["kv", "a", "b"], 'kv can\'t use "a b": it takes a name, or verify and a name'],
    [["status", "--nope"], "Unknown option '--nope'"],
    [["topology", "-n", "x"], "Unknown option '-n'"],
    [["status", "-o", "xml"], '-o must be one of table, json, yaml, not "xml"'],
    [["plan"], "plan needs a manifest: -f <file>"],
    [["status", "--kubeconfig", "/nowhere"], "the kubeconfig can't be used: "],
  ])("refuses %j with a sentence, a hint and status 2", async (args, sentence) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`Error: ${sentence}`);
    expect(stderr).toContain("See kubectl csps --help.");
  });
});

describe("files", () => {
  const manifest = (over: object): string =>
    JSON.stringify({
      apiVersion: "csps.io/v1alpha1",
      kind: "CSPSDeployment",
      metadata: { name: "m" },
      spec: { model: { name: "m", source: { image: { reference: "m:1" } }, contextLength: 4096 } },
      ...over,
    });
  const node = "kind: Node\nmetadata: {name: a}\n";

  it.each([
    ["there is none", {}, "f can't be read: no such file"],
    ["it is no YAML", { f: "a: [" }, "f is not YAML: "],
    ["it holds something else", { f: "kind: Pod" }, "f holds no CSPSDeployment"],
    ["it names no object", { f: manifest({ metadata: {} }) }, "metadata.name is missing"],
    [
      "the version is another",
      { f: manifest({ apiVersion: "csps.io/v2" }) },
      'apiVersion is "csps.io/v2": must be csps.io/v1alpha1',
    ],
    ["the spec is empty", { f: manifest({ spec: {} }) }, "spec.model is missing: "],
    [
      "a list item is wrong",
      { f: manifest({ spec: { decode: { rank: { tolerations: [{ operator: "No" }] } } } }) },
      'spec.decode.rank.tolerations[0].operator is "No": ',
    ],
    ["the nodes' file has none", { f: manifest({}), nodes: "kind: Pod" }, "nodes holds no Node"],
    ["a node has no name", { f: manifest({}), nodes: "kind: Node" }, "metadata.name of node 0 is missing"],
  ])("are refused with status 2 when %s", async (_what, files, sentence) => {
    const given = { nodes: node, ...files };
    const { code, stderr } = await run(["plan", "-f", "f", "--nodes", "nodes"], given);
    expect(code).toBe(2);
    expect(stderr).toContain(sentence);
    expect(stderr).not.toContain("--help");
  });

  it("are taken with several documents, lists among them", async () => {
    const list = `kind: List\nitems:\n- ${manifest({})}\n---\nkind: Pod\n---\n${manifest({ metadata: { name: "n" } })}`;
    const args = ["plan", "-f", "f", "--nodes", "nodes", "-n", "here", "-o", "json"];
    const { code, stdout } = await run(args, { f: list, nodes: node });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([
      { name: "m", namespace: "here" },
      { name: "n", namespace: "here" },
    ]);
  });

  const labelled =
    "kind: Node\nmetadata: {name: a, labels: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}\n";
  const traced = ["plan", "-f", "f", "--nodes", "nodes", "--trace", "t"];

  it("are played under a trace on what the nodes' labels name, or on what is named", async () => {
    const files = { f: manifest({}), nodes: labelled, t: "[]" };
    const { code, stdout } = await run(traced, files);
    expect(code).toBe(0);
    expect(stdout).toContain("Predicted under hour, 10 requests; NVIDIA-H100-80GB-HBM3; counts as stated:");
    expect(stdout).toContain("time to first token p50 0.10, p90 0.25, p99 1.00 s");
    expect(stdout).toContain("99.0 % meet both objectives, 3.00 GPU-hours");
    const named = await run([...traced, "--accelerator", "h200", "-o", "json"], files);
    expect(JSON.parse(named.stdout)).toMatchObject([{ prediction: { profile: "h200", requests: 10 } }]);
  });

  it("end with status 5 and the warnings when the trace gives any", async () => {
    const { code, stdout } = await run(traced, { f: manifest({}), nodes: labelled, t: '["too slow"]' });
    expect(code).toBe(5);
    expect(stdout).toContain("warning: too slow");
  });

  it("end with status 5, the places as usual, where nothing can be predicted", async () => {
    const { code, stdout } = await run(traced, { f: manifest({}), nodes: labelled, t: "of a stranger" });
    expect(code).toBe(5);
    expect(stdout).toMatch(/fits\.[^]*warning: no widths are known/);
  });

  it.each([
    ["the trace has a bad line", labelled, {}, "t, line 1, field input_length: is missing"],
    ["nothing names the accelerator", node, { t: "[]" }, "no node has the label nvidia.com/gpu.product"],
  ])("are refused with status 2 when %s", async (_what, nodes, more, sentence) => {
    const { code, stderr } = await run(traced, { f: manifest({}), nodes, ...more });
    expect(code).toBe(2);
    expect(stderr).toContain(sentence);
  });
});
