/** Clusters for properties of placement. */
import fc from "fast-check";

/** Up to twelve nodes in three racks and two zones, some without free GPUs, some not ready. */
export function anyNodes(minLength: number) {
  const node = fc.record({
    rack: fc.constantFrom("r1", "r2", "r3"),
    zone: fc.constantFrom("z1", "z2"),
    gpus: fc.integer({ min: 0, max: 8 }),
    ready: fc.boolean(),
  });
  return fc
    .array(node, { minLength, maxLength: 12 })
    .map((shapes) =>
      shapes.map((shape, index) => ({ ...shape, name: `n${String(index).padStart(2, "0")}` })),
    );
}
