/** The plugin as users run it, on a real API server, beside an operator that serves a deployment. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cspsDeployments } from "../kube/resource.ts";
import { bundle } from "./bundle.ts";
import { type CliAnswer, runCliProcess } from "./testing/cliProcess.ts";
import { eventually, World } from "./testing/world.ts";

let world: World;
let namespace: string;
let folder: string;
let program: string;
let plannedBefore: PlanReport[];

interface PlanReport {
  readonly fits: boolean;
  readonly notes: readonly string[];
  readonly groups: readonly {
    readonly group: string;
    readonly domain: string;
    readonly sentence: string;
    readonly places: readonly { readonly node: string }[];
  }[];
}

interface Domain {
  readonly level: string;
  readonly value: string;
  readonly free: number;
  readonly total: number;
  readonly groups: readonly { readonly group: string; readonly ranks: readonly number[] }[];
  readonly children: readonly Domain[];
}

const gpu = { resources: { limits: { "nvidia.com/gpu": 1 } }, topology: { required: "rack" } };
const model = { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 };

function aManifest(name: string, prefill: object = {}, decode: object = {}): object {
  const spec = {
    model,
    engine: { backend: "cpu" },
    prefill: { sequenceParallel: { degree: 2 }, rank: gpu, ...prefill },
    decode: { ranks: 2, rank: gpu, ...decode },
  };
  return { apiVersion: "csps.io/v1alpha1", kind: "CSPSDeployment", metadata: { name, namespace }, spec };
}

const csps = (args: readonly string[], input?: string): Promise<CliAnswer> =>
  runCliProcess(program, [...args, "--kubeconfig", world.plane.kubeconfigPath], input);

const planOf = (manifest: object, ...flags: string[]): Promise<CliAnswer> =>
  csps(["plan", "-f", "-", ...flags], JSON.stringify(manifest));

/** Parsed standard output of a verb that must succeed. */
async function json<T>(args: readonly string[], input?: string): Promise<T> {
  const { code, stdout, stderr } = await csps([...args, "-o", "json"], input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-cli-"));
  [world, program] = await Promise.all([World.start(), bundle("kubectl-csps", folder)]);
  for (const name of ["a1", "a2"]) await world.addNode({ name, rack: "ra", gpus: 1 });
  for (const name of ["b1", "b2"]) await world.addNode({ name, rack: "rb", gpus: 1 });
  namespace = await world.newNamespace();
  const manifest = aManifest("m");
  plannedBefore = await json<PlanReport[]>(["plan", "-f", "-"], JSON.stringify(manifest));
  await world.startOperator();
  await world.applyDeployment(namespace, (manifest as { spec: object }).spec);
  await eventually(async () => {
    const found = await world.read(cspsDeployments, namespace, "m");
    const settled = found?.status?.conditions?.filter(
      (one) => one.status === (one.type === "Available" ? "True" : "False"),
    );
    expect(settled?.map((one) => one.type)).toEqual(
      expect.arrayContaining(["Available", "Progressing", "Degraded"]),
    );
  });
});

afterAll(async () => {
  await world.stop();
  await rm(folder, { recursive: true, force: true });
});

describe("status", () => {
  it("shows the deployment, its groups, conditions with reasons, and every rank with its node", async () => {
    const { code, stdout } = await csps(["status", "-n", namespace]);
    expect(code).toBe(0);
    for (const word of ["m-prefill-0", "m-decode", "Serving", "TopologySatisfied", "every group has a place"])
      expect(stdout).toContain(word);
    for (const rank of ["m-prefill-0-0", "m-prefill-0-1", "m-decode-0", "m-decode-1"])
      expect(stdout).toMatch(new RegExp(`${rank} +[ab][12] +Running +serving`));
    expect(stdout).not.toContain("\u001b");
  });

  it("gives the same as data, as JSON and as YAML", async () => {
    const found = await json<{ name: string; gangs: { name: string; ranksReady: number }[] }[]>([
      ...["status", "m", "-n", namespace],
    ]);
    expect(found).toMatchObject([
      {
        name: "m",
        groupsReady: "1/1",
        decodeRanksReady: "2/2",
        gangs: [{ ranksReady: 2 }, { ranksReady: 2 }],
      },
    ]);
    const yaml = await csps(["status", "-A", "-o", "yaml"]);
    expect(yaml.stdout).toContain("groupsReady: 1/1");
  });

  it("names what there is when a name is wrong, and says when there is nothing", async () => {
    const wrong = await csps(["status", "n", "-n", namespace]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toBe(
      `Error: there is no CSPSDeployment "n" in namespace "${namespace}"; there are: m\n`,
    );
    const empty = await csps(["status", "-n", "default"]);
    expect(empty).toMatchObject({ code: 0, stdout: "There is no CSPSDeployment in namespace default.\n" });
  });
});

describe("topology", () => {
  it("counts free devices up the tree and puts each group at the rack that holds it", async () => {
    const root = await json<Domain>(["topology"]);
    expect(root).toMatchObject({ level: "cluster", free: 0, total: 4 });
    const racks = root.children.flatMap((zone) => zone.children);
    expect(racks.map((rack) => [rack.level, rack.value, rack.total])).toEqual([
      ["rack", "ra", 2],
      ["rack", "rb", 2],
    ]);
    const groups = racks.flatMap((rack) => rack.groups.map((one) => one.group)).sort();
    expect(groups).toEqual(["m-decode", "m-prefill-0"]);
    const hosts = racks.flatMap((rack) => rack.children);
    expect(hosts.map((host) => host.groups.map((one) => one.ranks.length))).toEqual([[1], [1], [1], [1]]);
  });

  it("stops at the level that is asked for, and refuses one that no node has", async () => {
    const { stdout } = await csps(["topology", "--level", "rack"]);
    expect(stdout).toMatch(/rack ra +2 +0 +2 +t\d+\/m-/);
    expect(stdout).not.toContain("host");
    const wrong = await csps(["topology", "--level", "spine"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('no node has the level "spine"; there are: host, rack, zone');
  });
});

describe("explain", () => {
  it("tells in sentences what holds, where groups lie, and what was decided", async () => {
    const { code, stdout } = await csps(["explain", "m", "-n", namespace]);
    expect(code).toBe(0);
    expect(stdout).toContain("m serves: 1 of 1 prefill groups and the decode pool serve.");
    expect(stdout).toMatch(/m-prefill-0: 2 of 2 ranks serve in epoch \d+, in rack=r[ab]/);
    expect(stdout).toMatch(/ago, placement of m-decode: 2 ranks in rack "r[ab]", the smallest domain/);
  });
});

describe("plan", () => {
  it("says before the manifest is applied where the operator then puts the ranks", async () => {
    const [planned] = plannedBefore;
    expect(planned).toMatchObject({ fits: true, notes: [] });
    expect(planned?.groups.map((group) => [group.group, group.places.length])).toEqual([
      ["m-prefill-0", 2],
      ["m-decode", 2],
    ]);
    const nodes = planned?.groups
      .map((group) =>
        group.places
          .map((place) => place.node)
          .sort()
          .join(),
      )
      .sort();
    const found = await json<{ gangs: { members: { node?: string }[] }[] }[]>([
      "status",
      "m",
      "-n",
      namespace,
    ]);
    const real = found[0]?.gangs
      .map((gang) =>
        gang.members
          .map((rank) => rank.node)
          .sort()
          .join(),
      )
      .sort();
    expect(real).toEqual(nodes);
  });

  it("ends with 3 and the planner's sentence when the cluster is full", async () => {
    const { code, stdout } = await planOf(aManifest("other"));
    expect(code).toBe(3);
    expect(stdout).toContain(`${namespace}/other does not fit.`);
    expect(stdout).toContain(
      '0 of 2 ranks fit in the best rack "ra"; excluded nodes: 4 insufficient nvidia.com/gpu',
    );
  });

  it("counts the room of a deployment's own ranks as free, and says so", async () => {
    const { code, stdout } = await planOf(aManifest("m"));
    expect(code).toBe(0);
    expect(stdout).toContain("the room of 4 running ranks of the same groups counts as free");
  });

  it.each([
    [
      "a value that the schema refuses",
      { sequenceParallel: { degree: 0 } },
      "prefill.sequenceParallel.degree is 0: ",
    ],
    [
      "a field that there is not",
      { sequenceParalel: {} },
      "prefill.sequenceParalel is {}: there is no such field",
    ],
    [
      "a rule between fields",
      { sequenceParallel: { degree: 2, minDegree: 3 } },
      "minDegree is 3 but must be at most degree, which is 2",
    ],
  ])("ends with 2 and names field and rule for %s", async (_what, prefill, sentence) => {
    const { code, stdout, stderr } = await planOf(aManifest("other", prefill));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("spec.prefill");
    expect(stderr).toContain(sentence);
  });

  it("says what it could not check when the namespace is yet to be made", async () => {
    const manifest = { ...aManifest("other"), metadata: { name: "other", namespace: "yet-to-come" } };
    const { code, stdout } = await planOf(manifest);
    expect(code).toBe(3);
    expect(stdout).toContain('rules between fields were not checked: namespaces "yet-to-come" not found');
  });

  it("plans on nodes of a file without any cluster", async () => {
    const path = join(folder, "nodes.yaml");
    await writeFile(path, await world.plane.kubectl(["get", "nodes", "-o", "yaml"]));
    const args = ["plan", "-f", "-", "--nodes", path, "--kubeconfig", "/nowhere"];
    const { code, stdout } = await runCliProcess(program, args, JSON.stringify(aManifest("other")));
    expect(code).toBe(0);
    expect(stdout).toMatch(/other-prefill-0-1 +a2/);
  });

  it("changes nothing", async () => {
    const names = (await world.list(cspsDeployments, namespace)).map((one) => one.metadata.name);
    expect(names).toEqual(["m"]);
  });
});

it("says in a sentence that no API server answers", async () => {
  const path = join(folder, "kubeconfig");
  const cluster = { name: "c", cluster: { server: "https://127.0.0.1:1" } };
  const context = { name: "c", context: { cluster: "c", user: "u" } };
  const users = [{ name: "u", user: {} }];
  const config = { clusters: [cluster], contexts: [context], users, "current-context": "c" };
  await writeFile(path, JSON.stringify(config));
  const { code, stderr } = await runCliProcess(program, ["status", "--kubeconfig", path]);
  expect(code).toBe(1);
  expect(stderr).toContain("Error: the API server does not answer: ");
});
