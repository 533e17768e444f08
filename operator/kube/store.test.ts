import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keyOf, ownedBy, splitKey, type KubeObject, type ObjectMeta } from "./object.ts";
import { byLabel, byNamespace, byNode, byOwner, Store } from "./store.ts";

function object(name: string, meta: Partial<ObjectMeta> = {}): KubeObject {
  const metadata = {
    name,
    namespace: "x",
    uid: `uid-${name}`,
    resourceVersion: "1",
    creationTimestamp: "",
    ...meta,
  };
  return { apiVersion: "v1", kind: "Thing", metadata };
}

describe("a store", () => {
  test("finds objects by owner, label, namespace and node", () => {
    const owner = object("owner");
    const store = new Store<KubeObject & { spec?: { nodeName?: string } }>({
      owner: byOwner,
      role: byLabel("csps.io/role"),
      namespace: byNamespace,
      node: byNode,
    });
    const rank = object("rank", { ownerReferences: [ownedBy(owner)], labels: { "csps.io/role": "prefill" } });
    store.upsert({ ...rank, spec: { nodeName: "node-1" } });
    store.upsert(object("other"));
    const namesBy = (index: string, value: string): string[] =>
      store.byIndex(index, value).map(({ metadata }) => metadata.name);
    expect(namesBy("owner", owner.metadata.uid)).toEqual(["rank"]);
    expect(namesBy("role", "prefill")).toEqual(["rank"]);
    expect(namesBy("node", "node-1")).toEqual(["rank"]);
    expect(namesBy("namespace", "x")).toEqual(["rank", "other"]);
    expect(namesBy("role", "decode")).toEqual([]);
    expect(() => store.byIndex("no-such", "x")).toThrow('no index "no-such"');
  });

  test("a replacement tells what came, changed and went, and nothing else", () => {
    const store = new Store();
    for (const name of ["same", "changed", "gone"]) store.upsert(object(name));
    const { added, updated, removed } = store.replace([
      object("same"),
      object("changed", { resourceVersion: "2" }),
      object("new"),
    ]);
    expect(added.map(keyOf)).toEqual(["x/new"]);
    expect(
      updated.map(({ before, after }) => [before, after].map((one) => one.metadata.resourceVersion)),
    ).toEqual([["1", "2"]]);
    expect(removed.map(keyOf)).toEqual(["x/gone"]);
    expect(store.list().map(keyOf).sort()).toEqual(["x/changed", "x/new", "x/same"]);
  });

  test("indexes equal a scan of the content after any changes", () => {
    const name = fc.constantFrom("a", "b", "c", "d");
    const label = fc.constantFrom("red", "green", undefined);
    const one = fc
      .record({ name, label })
      .map((made) => object(made.name, { labels: made.label === undefined ? {} : { colour: made.label } }));
    const step = fc.oneof(
      one.map((made) => ({ kind: "upsert" as const, made })),
      name.map((gone) => ({ kind: "remove" as const, gone })),
      fc.uniqueArray(one, { selector: keyOf }).map((all) => ({ kind: "replace" as const, all })),
    );
    const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const store = new Store({ colour: byLabel("colour") });
      for (const each of steps) {
        if (each.kind === "upsert") store.upsert(each.made);
        else if (each.kind === "remove") store.remove(`x/${each.gone}`);
        else store.replace(each.all);
        for (const colour of ["red", "green"]) {
          const scanned = store.list().filter(({ metadata }) => metadata.labels?.["colour"] === colour);
          expect(new Set(store.byIndex("colour", colour))).toEqual(new Set(scanned));
        }
      }
    });
    fc.assert(property, { numRuns: 500 });
  });
});

test("a key splits into what it was made of", () => {
  expect(splitKey(keyOf(object("name")))).toEqual({ namespace: "x", name: "name" });
  expect(splitKey(keyOf({ metadata: { name: "node-1" } }))).toEqual({ name: "node-1" });
});
