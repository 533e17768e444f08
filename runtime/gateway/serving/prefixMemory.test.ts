import { describe, expect, it } from "vitest";
import { createPrefixMemory, keysOf } from "./prefixMemory.ts";

const tokens = (count: number, first = 0): number[] => Array.from({ length: count }, (_, i) => first + i);

describe("the memory of what pools hold", () => {
  it("tells how much of a prompt's beginning went to a pool", () => {
    const memory = createPrefixMemory();
    memory.note("pool-a", ["k1", "k2", "k3"]);
    expect(memory.share("pool-a", ["k1", "k2", "k9", "k3"])).toBe(0.5);
    expect(memory.share("pool-a", ["k1"])).toBe(1);
    expect(memory.share("pool-b", ["k1"])).toBe(0);
    expect(memory.share("pool-a", [])).toBe(0);
  });

  it("forgets what was not used for longest", () => {
    const memory = createPrefixMemory(3);
    memory.note("pool", ["k1", "k2"]);
    memory.note("pool", ["k1"]);
    memory.note("pool", ["k3", "k4"]);
    expect(memory.share("pool", ["k1"])).toBe(1);
    expect(memory.share("pool", ["k2"])).toBe(0);
  });
});

describe("the keys of a prompt", () => {
  it("are equal for equal beginnings in equal forms only", () => {
    const one = keysOf(tokens(200))("form", 64);
    const other = keysOf([...tokens(150), ...tokens(50, 1000)])("form", 64);
    expect(one).toHaveLength(3);
    expect(other.slice(0, 2)).toEqual(one.slice(0, 2));
    expect(other[2]).not.toBe(one[2]);
    expect(keysOf(tokens(200))("another form", 64)[0]).not.toBe(one[0]);
  });
});
